"""What visits of published ports stand on, and how many ports may be published."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta
from typing import Any, cast

import pytest
import sqlalchemy as sa
from tests.support import fake_leases
from tests.support.installation import Installation

from pve402.domain import errors, lease, published
from pve402.guests.consoles import ConsoleOptions, Consoles
from pve402.guests.open_calls import OpenCall
from pve402.hub import errors as hub_errors
from pve402.leases import moves, ports
from pve402.storage import database, lease_rows, tables

VMIDS = itertools.count(10_000)
DOMAIN = published.PortsDomain("ports.example.net")


@pytest.fixture
async def row(installation: Installation) -> lease.Lease:
    """An active lease."""
    return (await installation.lease()).lease


@pytest.fixture
def publisher(installation: Installation) -> ports.Ports:
    """What publishes ports."""
    return ports.Ports(installation.parts.db, installation.parts.access, DOMAIN)


@pytest.fixture
def publisher_alone(db: database.Database) -> ports.Ports:
    """The same without machines, for callers without tokens."""
    return ports.Ports(db, cast("Any", None), DOMAIN)


async def ended(installation: Installation, call: OpenCall) -> Exception:
    """Hold a visit open until it is ended; returns what ended it."""
    here = Consoles(installation.parts.db, ConsoleOptions(watch_seconds=0.05))
    try:
        with here.open_calls.track(call):
            async with asyncio.timeout(20), call.lasting():
                await asyncio.Event().wait()
    except errors.Pve402Error as refusal:
        return refusal
    finally:
        await here.close()
    raise AssertionError


def name_of(row: lease.Lease) -> published.PortName:
    """The name under which port 8080 of a lease is visited."""
    return published.PortName(host="", lease_id=row.lease_id, port=8080)


async def test_a_visit_ends_with_its_port_s_time(
    installation: Installation, row: lease.Lease, publisher: ports.Ports
) -> None:
    db = installation.parts.db
    until = await db.time() + timedelta(seconds=30)
    port = await publisher.publish(row, 8080, published.Access.PUBLIC, until)
    db.shift_seconds += 31

    refusal = await ended(installation, OpenCall(row, None, port))

    assert isinstance(refusal, published.PortNotPublished)
    with pytest.raises(published.PortNotPublished):
        await publisher.admit(name_of(row))


async def test_a_visit_ends_with_its_lease_s_time(
    installation: Installation, row: lease.Lease, publisher: ports.Ports
) -> None:
    port = await publisher.publish(row, 8080, published.Access.PUBLIC, None)
    installation.parts.db.shift_seconds += 100 * 24 * 3600

    refusal = await ended(installation, OpenCall(row, None, port))

    assert isinstance(refusal, hub_errors.GuestClosed)


async def test_a_visit_ends_when_its_lease_is_suspended(
    installation: Installation, row: lease.Lease, publisher: ports.Ports
) -> None:
    port = await publisher.publish(row, 8080, published.Access.PUBLIC, None)
    async with installation.parts.db.begin() as tx:
        await moves.suspend(installation.parts.db, tx, row, "abuse", time_held=True)

    refusal = await ended(installation, OpenCall(row, None, port))

    assert isinstance(refusal, errors.LeaseSuspended)
    with pytest.raises(errors.LeaseSuspended):
        await publisher.admit(name_of(row))


async def test_a_login_does_not_outlive_its_port(
    installation: Installation, row: lease.Lease, publisher: ports.Ports
) -> None:
    db = installation.parts.db
    until = await db.time() + timedelta(seconds=60)
    await publisher.publish(row, 8080, published.Access.PRIVATE, until)
    link = await publisher.make_link(row, 8080, None)
    name = name_of(row)
    login = await publisher.log_in(name, link.text)
    assert await publisher.admit(name, login=login.text) is not None
    with pytest.raises(published.LoginRefused):
        await publisher.log_in(name, link.text)

    db.shift_seconds += 61
    await publisher.publish(row, 8080, published.Access.PRIVATE, None)

    assert await publisher.admit(name, login=login.text) is None


async def test_a_lease_that_has_ended_meanwhile_publishes_nothing(
    db: database.Database, publisher_alone: ports.Ports
) -> None:
    row = await leased(db, "eip155:84532:0x" + "1" * 40, 0)
    async with db.begin() as tx:
        ended = {"status": lease.LeaseStatus.ENDED.value}
        await tx.execute(tables.leases.update().values(**ended))

    with pytest.raises(errors.LeaseNotReady):
        await publisher_alone.publish(row, 8080, published.Access.PUBLIC, None)

    assert await publisher_alone.of_lease(row) == []


@pytest.mark.parametrize(
    ("of_lease", "of_wallet", "in_all", "is_full"),
    [
        (15, 63, 9_999, False),
        (16, 16, 16, True),
        (0, 64, 64, True),
        (0, 0, 10_000, True),
    ],
)
async def test_ports_are_counted_by_lease_by_wallet_and_in_all(
    db: database.Database,
    publisher_alone: ports.Ports,
    of_lease: int,
    of_wallet: int,
    in_all: int,
    is_full: bool,
) -> None:
    owner, stranger = (f"eip155:84532:0x{digit * 40}" for digit in "12")
    row = await leased(db, owner, of_lease)
    await leased(db, owner, of_wallet - of_lease)
    await leased(db, stranger, in_all - of_wallet)
    if not is_full:
        await publisher_alone.publish(row, 60_000, published.Access.PRIVATE, None)

    with pytest.raises(published.TooManyPorts):
        await publisher_alone.publish(row, 60_001, published.Access.PRIVATE, None)


async def leased(db: database.Database, owner: str, published_ports: int) -> lease.Lease:
    """A lease with so many published ports."""
    made = fake_leases.make_lease(owner, vmid=next(VMIDS))
    common = {"lease_id": made.lease_id, "access": "public", "created_at": fake_leases.NOW}
    rows = [{**common, "port": 1 + number} for number in range(published_ports)]
    async with db.begin() as tx:
        await lease_rows.insert(db, tx, made, due=False)
        if rows:
            await tx.execute(sa.insert(tables.ports), rows)
    return made
