"""A renewal of unknown outcome keeps a lease from ending, and opens nothing past its paid end."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support import asgi, shop, wallets
from tests.support.api_fixtures import BODY
from tests.support.chain import chain, facilitator  # noqa: F401
from tests.support.shop import Shop

from pve402.domain import errors, lease, order
from pve402.guests import consoles, open_calls
from pve402.hub import errors as hub_errors
from pve402_devnet.facilitator import Endpoint, Fault, FaultKind

EXEC_ID = "e" + "0" * 24
COMMAND = {"command": "true"}
INSIDE: list[tuple[str, str, Any]] = [
    ("POST", "/management/exec/{}", COMMAND),
    ("POST", "/management/exec/{}", {**COMMAND, "detach": True}),
    ("GET", "/management/exec/{}", b""),
    ("GET", f"/management/exec/{{}}/{EXEC_ID}", b""),
    ("DELETE", f"/management/exec/{{}}/{EXEC_ID}", b""),
    ("POST", f"/management/exec/{{}}/{EXEC_ID}/stdin", b"data"),
    ("GET", "/management/files/{}?path=/etc/hostname", b""),
    ("PUT", "/management/files/{}?path=/tmp/a", b"data"),
    ("POST", "/management/console/{}", {"consoleType": "terminal"}),
    ("POST", "/management/console/{}", {"consoleType": "vnc"}),
]
POWER = ["start", "stop", "reboot"]


@dataclasses.dataclass(kw_only=True)
class Rented:
    """A lease of a minute, and what its tenant holds."""

    shop: Shop
    ctid: str
    bearer: dict[str, str]
    ticket: str

    async def call(self, method: str, path: str, body: Any) -> asgi.Reply:
        """Ask for something with the lease's token."""
        return await self.shop.http.request(
            method, path.format(self.ctid), body, headers=self.bearer
        )

    async def row(self) -> lease.Lease:
        (row,) = await self.shop.inside.leases_now()
        return row

    @property
    def runs(self) -> bool:
        return self.shop.inside.runs(int(self.ctid))


@pytest.fixture
async def rented(
    chain: Any,  # noqa: F811
    facilitator: Any,  # noqa: F811
    tmp_path: Path,
) -> AsyncIterator[Rented]:
    """A lease whose renewal is of unknown outcome, 20 seconds past its paid end."""
    async with shop.running(tmp_path, chain, facilitator, pve402_create_wait_seconds=5) as made:
        wish = {**BODY, "runtimeMinutes": 1}
        sold = (await paid(made, "/lease/container", wish)).json()
        bearer = {"Authorization": f"Bearer {sold['accessToken']}"}
        (row,) = await made.inside.leases_now()
        links = made.inside.parts.guest_work.consoles
        link = await links.issue(row, consoles.Kind.TERMINAL, None)
        lost = Fault(kind=FaultKind.PENDING_LOST, endpoint=Endpoint.SETTLE, times=None)
        made.inside.facilitator.faults.add(lost)
        renewing = await paid(made, f"/lease/{sold['ctid']}/renew", {"runtimeMinutes": 10})
        assert renewing.code == "settlement_pending", renewing.body
        made.inside.pass_time(80)
        yield Rented(shop=made, ctid=sold["ctid"], bearer=bearer, ticket=link.ticket)


async def paid(made: Shop, path: str, body: Any) -> asgi.Reply:
    """Ask, sign, pay."""
    asked = await made.http.post(path, body)
    signed = wallets.payment_headers(made.tenant, asked)
    return await made.http.post(path, body, headers=signed)


async def test_nothing_is_done_inside_past_the_paid_end(rented: Rented):
    told = [await rented.call(*call) for call in INSIDE]
    switched = [await rented.call("POST", f"/lease/{{}}/{act}", b"") for act in POWER]
    (renewal,) = [o for o in await rented.shop.inside.orders_now() if o.is_open]

    assert renewal.status is order.OrderStatus.SETTLING
    assert (await rented.row()).status is lease.LeaseStatus.ACTIVE
    assert [reply.code for reply in told] == ["lease_not_ready"] * len(INSIDE)
    assert [reply.code for reply in switched] == ["lease_busy"] * len(POWER)


async def test_nothing_that_was_open_stays_open(rented: Rented):
    db, row = rented.shop.inside.parts.db, await rented.row()
    watching = consoles.Consoles(db, consoles.ConsoleOptions(watch_seconds=0.02))
    call = open_calls.OpenCall(row, None)

    with pytest.raises(errors.LeaseNotReady):
        await watching.redeem(rented.ticket, consoles.Kind.TERMINAL)
    with watching.open_calls.track(call), pytest.raises(hub_errors.GuestClosed):
        async with call.lasting():
            await asyncio.Event().wait()
    await watching.close()


async def test_its_guest_is_stopped_after_a_minute_and_started_by_nobody(rented: Rented):
    inside = rented.shop.inside
    ran_at_first = rented.runs

    inside.pass_time(61)
    await until(lambda: not rented.runs)
    await inside.proxmox.publish()
    await inside.parts.lease_reconciler.run_once()
    told = [await rented.call(*call) for call in INSIDE]
    switched = [await rented.call("POST", f"/lease/{{}}/{act}", b"") for act in POWER]

    assert ran_at_first
    assert not rented.runs
    assert {reply.code for reply in [*told, *switched]} == {"lease_not_ready", "lease_busy"}


async def test_it_goes_on_when_the_renewal_settles(rented: Rented):
    inside = rented.shop.inside
    before = await rented.row()
    inside.pass_time(61)
    await until(lambda: not rented.runs)

    inside.facilitator.faults.clear()
    await rented.shop.until_over()
    row = await rented.row()
    listed = await rented.call("GET", "/management/list", b"")

    assert rented.runs
    assert (row.status, listed.json()[0]["status"]) == (lease.LeaseStatus.ACTIVE, "active")
    assert row.expires_at is not None
    assert before.expires_at is not None
    assert row.expires_at - before.expires_at >= timedelta(minutes=10)


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError
