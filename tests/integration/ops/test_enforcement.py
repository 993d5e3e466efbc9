"""What operators do about a lease: suspend it, resume it, end it."""

from __future__ import annotations

import dataclasses
import io
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from rich.console import Console
from tests.support.installation import Installation, World, running, settings

from pve402 import bootstrap
from pve402.domain import errors, lease, power
from pve402.leases import moves
from pve402.ops import enforcement, rebuild
from pve402.proxmox.guests import GuestRef
from pve402.storage import queue
from pve402_devnet.pve.simulator import SimulatedProxmox

HOUR = timedelta(hours=1)


def console() -> Console:
    """A console whose output nobody reads."""
    return Console(file=io.StringIO(), width=300)


async def suspended(installation: Installation, row: lease.Lease, **changes: Any) -> lease.Lease:
    """The lease after the operator suspended it and the service did its work."""
    wish = enforcement.Suspend(name=row.lease_id, reason="abuse report 17", **changes)
    assert await wish.run(installation.parts, console()) == 0
    await installation.settled_down()
    return await now(installation, row)


async def resumed(installation: Installation, row: lease.Lease) -> lease.Lease:
    """The lease after the operator resumed it and the service did its work."""
    assert await enforcement.resume(installation.parts, console(), name=row.ctid) == 0
    await installation.settled_down()
    return await now(installation, row)


async def now(installation: Installation, row: lease.Lease) -> lease.Lease:
    """The lease as its row stands."""
    return next(each for each in await installation.leases_now() if each.lease_id == row.lease_id)


def expiry(row: lease.Lease) -> datetime:
    """The end of a lease that has one."""
    assert row.expires_at is not None
    return row.expires_at


async def test_a_renewal_that_read_the_lease_before_its_suspension_does_not_hold_it(
    installation: Installation,
) -> None:
    read_before = (await installation.lease()).lease
    await suspended(installation, read_before)
    db = installation.parts.db

    with pytest.raises(queue.FenceLostError):
        async with db.begin() as tx:
            await moves.hold(tx, read_before, "o1", await db.time_in(tx) + HOUR)


async def test_a_suspended_guest_is_down_and_stays_down(installation: Installation) -> None:
    row = await suspended(installation, (await installation.lease()).lease)

    for _ in range(2):
        await installation.proxmox.publish()
        await installation.parts.lease_reconciler.run_once()
        await installation.settled_down()

    assert not installation.runs(row.vmid)
    assert row.suspension is not None
    assert (row.wanted, row.wanted_by) == (power.Wanted.SUSPENDED, power.WantedBy.OPERATOR)


async def done_by_tenant(
    installation: Installation, tenant: LocalAccount, row: lease.Lease, act: str
) -> None:
    """Do something that the tenant of an active lease may do."""
    if act == "renew":
        await installation.leases.renew(row, 30, installation.renewal(tenant, row, 30))
    elif act == "quote":
        await installation.leases.check_renewable(row, 30)
    elif act == "use":
        await installation.leases.require_active(row)
    else:
        await getattr(installation.leases, act)(row)


@pytest.mark.parametrize("act", ["start", "stop", "reboot", "renew", "quote", "use", "end"])
async def test_the_tenant_of_a_suspended_lease_is_told_why(
    installation: Installation, act: str
) -> None:
    tenant = installation.tenant()
    row = await suspended(installation, (await installation.lease(tenant)).lease)
    earned = installation.earned

    with pytest.raises(errors.LeaseSuspended, match="abuse report 17"):
        await done_by_tenant(installation, tenant, row, act)

    assert installation.earned == earned
    assert not installation.runs(row.vmid)


async def test_a_suspended_lease_is_seen(installation: Installation) -> None:
    row = await suspended(installation, (await installation.lease()).lease)

    assert (await installation.leases.view(row)).lease.suspension == row.suspension


async def test_an_end_that_read_the_lease_before_its_suspension_does_not_end_it(
    installation: Installation,
) -> None:
    read_before = (await installation.lease()).lease
    row = await suspended(installation, read_before)

    with pytest.raises(errors.LeaseBusy):
        await installation.leases.end(read_before)

    assert (await now(installation, row)).suspension == row.suspension
    assert row.vmid in installation.marked_guests


async def test_its_time_runs_on(installation: Installation) -> None:
    row = await suspended(installation, (await installation.lease(minutes=60)).lease)

    installation.pass_time(3601)
    over = await installation.until_status(lease.LeaseStatus.STOPPED)

    assert expiry(over) == expiry(row)


async def test_its_time_stands_still_if_the_operator_says_so(installation: Installation) -> None:
    row = (await installation.lease(minutes=60)).lease
    held = await suspended(installation, row, time_held=True)

    installation.pass_time(50 * 3600)
    await installation.settled_down()
    back = await resumed(installation, held)

    assert back.status is lease.LeaseStatus.ACTIVE
    assert installation.runs(row.vmid)
    moved = expiry(back) - expiry(row)
    assert 50 * HOUR <= moved < 50 * HOUR + timedelta(minutes=5)


@pytest.mark.parametrize("stopped", [False, True])
async def test_a_resumed_guest_is_as_its_tenant_left_it(
    installation: Installation, stopped: bool
) -> None:
    row = (await installation.lease()).lease
    if stopped:
        row = await installation.leases.stop(row)

    back = await resumed(installation, await suspended(installation, row))

    assert installation.runs(row.vmid) is not stopped
    assert back.suspension is None
    assert expiry(back) == expiry(row)


async def test_a_suspension_survives_a_lost_database(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    world: World,
) -> None:
    async with running(f"sqlite:///{tmp_path}/lost.sqlite3", *world) as lost:
        held = await suspended(lost, (await lost.lease()).lease, time_held=True)
    await proxmox.publish()
    url = f"sqlite:///{tmp_path}/new.sqlite3"
    parts = bootstrap.build(settings(url, *world))
    await rebuild.Rebuild(apply=True).run(parts, console())
    await parts.close()

    async with running(url, *world) as again:
        await again.settled_down()
        found = await now(again, held)
        assert not again.runs(held.vmid)

    assert held.suspension is not None
    since = held.suspension.since.replace(microsecond=0)
    assert found.suspension == dataclasses.replace(held.suspension, since=since)


async def test_a_resumed_lease_stays_so_though_its_tenant_starts_it_at_once(
    installation: Installation,
) -> None:
    row = await suspended(installation, (await installation.lease()).lease)
    async with installation.parts.db.begin() as tx:  # both before the worker looks
        resumed_row = await moves.resume(installation.parts.db, tx, row)
        await moves.want_running(installation.parts.db, tx, resumed_row, power.WantedBy.TENANT)
    await installation.settled_down()

    config = await installation.parts.guests.config(GuestRef(node=row.node, vmid=row.vmid))

    record = installation.parts.machines.read_description(config.description)
    assert record is not None
    assert record.suspension is None


async def test_a_renewal_in_progress_is_not_suspended(installation: Installation) -> None:
    row = (await installation.lease()).lease
    until = await installation.parts.db.time() + HOUR
    async with installation.parts.db.single() as tx:
        await moves.hold(tx, row, "o" + "0" * 30, until)

    wish = enforcement.Suspend(name=row.lease_id, reason="abuse")
    code = await wish.run(installation.parts, console())

    assert code == enforcement.EXIT_REFUSED
    assert (await now(installation, row)).suspension is None


@pytest.mark.parametrize("reason", ["", "x" * 121, "a\nb", "a\x1b[31m", "\u202eabc"])
async def test_a_reason_that_cannot_be_shown_is_refused(
    installation: Installation, reason: str
) -> None:
    row = (await installation.lease()).lease

    wish = enforcement.Suspend(name=row.lease_id, reason=reason)

    assert await wish.run(installation.parts, console()) == enforcement.EXIT_REFUSED
    assert (await now(installation, row)).suspension is None


async def test_a_long_reason_fits_into_the_description(installation: Installation) -> None:
    row = (await installation.lease()).lease
    reason = "ü" * enforcement.LONGEST_REASON

    wish = enforcement.Suspend(name=row.lease_id, reason=reason)
    assert await wish.run(installation.parts, console()) == 0
    await installation.settled_down()

    text = installation.proxmox.world.guests[row.vmid].config.text("description")
    record = installation.parts.machines.read_description(text)
    assert record is not None
    assert record.suspension is not None
    assert record.suspension.reason == reason


async def test_the_operator_ends_a_lease(installation: Installation) -> None:
    row = await suspended(installation, (await installation.lease()).lease)

    assert await enforcement.end(installation.parts, console(), name=row.lease_id) == 0
    await installation.settled_down()

    over = await now(installation, row)
    assert (over.status, over.end_reason) == (lease.LeaseStatus.ENDED, "ended_by_operator")
    assert row.vmid not in installation.marked_guests


@pytest.mark.parametrize("name", ["l" + "0" * 25, "99999", "nothing", "../1", ""])
async def test_a_lease_that_is_not_there_is_refused(installation: Installation, name: str) -> None:
    parts = installation.parts
    wish = enforcement.Suspend(name=name, reason="abuse")

    codes = [
        await wish.run(parts, console()),
        await enforcement.resume(parts, console(), name=name),
        await enforcement.end(parts, console(), name=name),
    ]

    assert codes == [enforcement.EXIT_REFUSED] * 3
