"""Tickets of consoles: once, for a while, for one lease and kind; and the watch behind them."""

import asyncio
from datetime import timedelta

import pytest
from tests.support.installation import Installation

from pve402.domain import errors, lease
from pve402.guests import consoles
from pve402.guests.consoles import ConsoleOptions, Consoles, Kind, TicketRefused, TooManyConsoles
from pve402.guests.open_calls import OpenCall, TokenRevoked
from pve402.hub import errors as hub_errors
from pve402.storage import tables, vault


@pytest.fixture
async def row(installation: Installation) -> lease.Lease:
    """An active lease."""
    return (await installation.lease()).lease


def made(installation: Installation, **options: float) -> Consoles:
    """Consoles that look often."""
    chosen = {"watch_seconds": 0.05, **options}
    return Consoles(installation.parts.db, ConsoleOptions(**chosen))  # type: ignore[arg-type]


async def test_a_ticket_opens_once(installation: Installation, row: lease.Lease) -> None:
    gate = made(installation)
    issued = await gate.issue(row, Kind.TERMINAL, None)

    grant = await gate.redeem(issued.ticket, Kind.TERMINAL)

    assert grant.lease.lease_id == row.lease_id
    with pytest.raises(TicketRefused):
        await gate.redeem(issued.ticket, Kind.TERMINAL)


async def test_of_many_at_once_one_is_let_in(installation: Installation, row: lease.Lease) -> None:
    gate = made(installation)
    ticket = (await gate.issue(row, Kind.TERMINAL, None)).ticket

    outcomes = await asyncio.gather(
        *(gate.redeem(ticket, Kind.TERMINAL) for _ in range(10)), return_exceptions=True
    )

    assert sum(isinstance(outcome, consoles.Grant) for outcome in outcomes) == 1


async def test_a_ticket_lasts_two_minutes(installation: Installation, row: lease.Lease) -> None:
    gate = made(installation)
    now = await installation.parts.db.time()
    issued = await gate.issue(row, Kind.VNC, None)
    installation.parts.db.shift_seconds += 121

    assert timedelta(0) < issued.expires_at - now <= timedelta(seconds=121)
    with pytest.raises(TicketRefused):
        await gate.redeem(issued.ticket, Kind.VNC)


async def test_a_ticket_of_another_kind_is_refused_and_stays_good(
    installation: Installation, row: lease.Lease
) -> None:
    gate = made(installation)
    issued = await gate.issue(row, Kind.TERMINAL, None)

    with pytest.raises(TicketRefused):
        await gate.redeem(issued.ticket, Kind.VNC)

    assert await gate.redeem(issued.ticket, Kind.TERMINAL)


@pytest.mark.parametrize("ticket", ["", "x", "x" * 43, "x" * 5000, "\0" * 43, "' OR 1=1 --"])
async def test_noise_is_refused(installation: Installation, ticket: str) -> None:
    with pytest.raises(TicketRefused):
        await made(installation).redeem(ticket, Kind.TERMINAL)


async def test_neither_table_nor_text_holds_a_ticket(
    installation: Installation, row: lease.Lease
) -> None:
    issued = await made(installation).issue(row, Kind.TERMINAL, "some-token")

    async with installation.parts.db.read() as tx:
        stored = (await tx.execute(tables.console_tickets.select())).mappings().all()

    assert issued.ticket not in str(stored) + repr(issued)
    assert "some-token" not in str(stored)


async def test_a_token_that_was_revoked_opens_nothing_any_more(installation: Installation) -> None:
    answer = await installation.lease()
    token = answer.access_token or ""
    gate = made(installation)
    good = await gate.issue(answer.lease, Kind.TERMINAL, token)
    late = await gate.issue(answer.lease, Kind.TERMINAL, token)

    await gate.redeem(good.ticket, Kind.TERMINAL)
    await installation.parts.access.revoke(token)

    with pytest.raises(TicketRefused):
        await gate.redeem(late.ticket, Kind.TERMINAL)


async def test_the_end_of_a_lease_ends_consoles_and_voids_tickets(
    installation: Installation, row: lease.Lease
) -> None:
    gate = installation.parts.guest_work.consoles
    grant = await gate.redeem((await gate.issue(row, Kind.TERMINAL, None)).ticket, Kind.TERMINAL)
    resume = await gate.issue_again(grant)

    async with gate.watched(grant) as console:
        await installation.leases.end(row)
        async with asyncio.timeout(20):
            while not console.end_reason:
                await console.changed()

    assert console.end_reason == "ended_by_owner"
    with pytest.raises((TicketRefused, errors.LeaseNotReady)):
        await gate.redeem(resume.ticket, Kind.TERMINAL)


async def test_what_another_replica_ended_is_noticed(
    installation: Installation, row: lease.Lease
) -> None:
    here = made(installation)  # not the one that the lease's workflow tells
    grant = await here.redeem((await here.issue(row, Kind.TERMINAL, None)).ticket, Kind.TERMINAL)

    async with here.watched(grant) as console:
        await installation.leases.end(row)
        async with asyncio.timeout(20):
            while not console.end_reason:
                await console.changed()
    await here.close()

    assert console.end_reason == "ended_by_owner"


async def test_a_renewal_is_told(installation: Installation) -> None:
    tenant = installation.tenant()
    row = (await installation.lease(tenant)).lease
    here = made(installation)
    grant = await here.redeem((await here.issue(row, Kind.TERMINAL, None)).ticket, Kind.TERMINAL)

    async with here.watched(grant) as console, asyncio.timeout(20):
        renewed = await installation.leases.renew(row, 60, installation.renewal(tenant, row, 60))
        await console.changed()
    await here.close()

    assert console.expires_at == renewed.lease.expires_at
    assert console.end_reason == ""


async def test_a_revoked_token_closes_what_it_opened(installation: Installation) -> None:
    answer = await installation.lease()
    token = answer.access_token or ""
    here = made(installation)
    ticket = (await here.issue(answer.lease, Kind.TERMINAL, token)).ticket
    grant = await here.redeem(ticket, Kind.TERMINAL)

    async with here.watched(grant) as console, asyncio.timeout(20):
        await installation.parts.access.revoke(token)
        await console.changed()
    await here.close()

    assert console.end_reason == "token_revoked"


async def test_consoles_are_bounded_for_each_lease_and_in_all(
    installation: Installation, row: lease.Lease
) -> None:
    grant = consoles.Grant(lease=row, kind=Kind.TERMINAL)
    other = consoles.Grant(lease=(await installation.lease()).lease, kind=Kind.TERMINAL)
    gate = made(installation, per_lease=1, in_all=2)

    async with gate.watched(grant):
        with pytest.raises(TooManyConsoles):
            await gate.watched(grant).__aenter__()
        async with gate.watched(other):
            assert gate.open_consoles == 2
    await gate.close()

    assert gate.open_consoles == 0


@pytest.mark.parametrize(
    ("how", "refusal"), [("revoked", TokenRevoked), ("ended", hub_errors.GuestClosed)]
)
async def test_a_call_that_lasts_ends_with_what_it_stands_on(
    installation: Installation, how: str, refusal: type[Exception]
) -> None:
    answer = await installation.lease()
    here = made(installation)
    call = OpenCall(answer.lease, vault.token_hash(answer.access_token or ""))
    if how == "revoked":
        await installation.parts.access.revoke(answer.access_token or "")
    else:
        await installation.leases.end(answer.lease)

    with pytest.raises(refusal):
        await last(here, call)
    await here.close()


async def test_a_call_ends_when_its_token_expires(installation: Installation) -> None:
    answer = await installation.lease()
    token_hash = vault.token_hash(answer.access_token or "")
    async with installation.parts.db.single() as tx:
        ends = {"expires_at": installation.parts.db.now(30)}
        rows = tables.tokens.update().where(tables.tokens.c.token_hash == token_hash)
        await tx.execute(rows.values(**ends))
    here = made(installation)
    installation.parts.db.shift_seconds += 121

    with pytest.raises(TokenRevoked):
        await last(here, OpenCall(answer.lease, token_hash))
    await here.close()


async def test_what_a_call_is_late_with_itself_stays_its_own_error(
    installation: Installation, row: lease.Lease
) -> None:
    call = OpenCall(row, None)

    with pytest.raises(TimeoutError):
        async with call.lasting():
            raise TimeoutError


async def last(here: Consoles, call: OpenCall) -> None:
    """Hold a call open until it is ended."""
    with here.open_calls.track(call):
        async with asyncio.timeout(20), call.lasting():
            await asyncio.Event().wait()
