"""What a tenant wants of a guest's power is recorded on its lease, and everything obeys it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from tests.support.installation import Installation

from pve402.domain import errors, lease, power
from pve402.leases import moves
from pve402.storage import lease_rows
from pve402_devnet.pve.faults import FaultKind, TaskFault

START = r"POST .*/status/start$"


async def test_a_stopped_guest_is_down_and_its_time_goes_on(installation: Installation) -> None:
    row = (await installation.lease(minutes=60)).lease

    stopped = await installation.leases.stop(row)

    assert not installation.runs(row.vmid)
    assert (stopped.status, stopped.expires_at) == (lease.LeaseStatus.ACTIVE, row.expires_at)
    assert (stopped.wanted, stopped.wanted_by) == (power.Wanted.STOPPED, power.WantedBy.TENANT)


async def test_the_reconciler_does_not_undo_a_stop(installation: Installation) -> None:
    row = (await installation.lease()).lease
    await installation.leases.stop(row)

    for _ in range(3):
        await reconcile(installation)
        await installation.settled_down()

    assert not installation.runs(row.vmid)


async def test_a_guest_that_is_wanted_down_and_runs_is_stopped(installation: Installation) -> None:
    row = (await installation.lease()).lease
    stopped = await installation.leases.stop(row)
    await installation.parts.machines.ensure_running(stopped)

    await reconcile(installation)
    await installation.settled_down()

    assert not installation.runs(row.vmid)


async def test_a_start_brings_the_guest_back(installation: Installation) -> None:
    row = (await installation.lease()).lease
    stopped = await installation.leases.stop(row)

    started = await installation.leases.start(stopped)

    assert installation.runs(row.vmid)
    assert started.is_to_run


@pytest.mark.parametrize("grace", [False, True])
async def test_a_renewal_does_not_undo_a_stop(installation: Installation, grace: bool) -> None:
    tenant = installation.tenant()
    row = await installation.leases.stop((await installation.lease(tenant, minutes=60)).lease)
    if grace:
        installation.pass_time(3601)
        row = await installation.until_status(lease.LeaseStatus.STOPPED)

    answer = await installation.leases.renew(row, 30, installation.renewal(tenant, row, 30))
    await reconcile(installation)
    await installation.settled_down()

    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    assert not installation.runs(row.vmid)


async def test_a_stop_outlives_a_crash(installation: Installation) -> None:
    row = (await installation.lease()).lease
    installation.fail_call(r"POST .*/status/shutdown$", times=2)
    installation.fail_call(r"POST .*/status/stop$", times=2)

    await installation.leases.stop(row)
    await installation.until(lambda now: now.due_at == now.expires_at)

    assert not installation.runs(row.vmid)


async def test_an_expiry_and_an_end_pass_a_stopped_lease(installation: Installation) -> None:
    row = await installation.leases.stop((await installation.lease(minutes=60)).lease)

    installation.pass_time(3601)
    in_grace = await installation.until_status(lease.LeaseStatus.STOPPED)
    await installation.leases.end(in_grace)
    await installation.until_status(lease.LeaseStatus.ENDED)

    assert row.vmid not in installation.proxmox.world.guests


async def test_a_reboot_starts_the_guest_anew(installation: Installation) -> None:
    row = (await installation.lease()).lease
    before = installation.proxmox.world.guests[row.vmid].pid

    await installation.leases.reboot(row)

    after = installation.proxmox.world.guests[row.vmid].pid
    assert after is not None
    assert after != before


@pytest.mark.parametrize("by_reconciler", [False, True])
@pytest.mark.parametrize("ends", [False, True])
async def test_a_start_does_not_overtake_a_stop_or_the_end(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, by_reconciler: bool, ends: bool
) -> None:
    row = (await installation.lease(minutes=60)).lease
    machines = installation.parts.machines
    honest = machines.ensure_running

    async def late(leased: lease.Lease, **named: Any) -> None:
        if ends:
            installation.pass_time(3601)
            await installation.until_status(lease.LeaseStatus.STOPPED)
        else:
            await installation.leases.stop(row)
        await honest(leased, **named)

    monkeypatch.setattr(machines, "ensure_running", late)

    if by_reconciler:
        guest = installation.proxmox.world.guests[row.vmid]
        guest.pid = guest.started_at = None
        await reconcile(installation)
    else:
        with pytest.raises(errors.LeaseBusy):
            await installation.leases.reboot(row)

    assert not installation.runs(row.vmid)


async def test_a_reboot_of_a_stopped_guest_starts_it(installation: Installation) -> None:
    row = await installation.leases.stop((await installation.lease()).lease)

    await installation.leases.reboot(row)

    (now,) = await installation.leases_now()
    assert installation.runs(row.vmid)
    assert now.is_to_run


async def test_a_guest_that_does_not_start_is_no_error(installation: Installation) -> None:
    row = await installation.leases.stop((await installation.lease()).lease)
    installation.fail_call(START, FaultKind.ERROR, times=1)

    await installation.leases.start(row)

    (now,) = await installation.leases_now()
    assert now.is_to_run
    assert now.due_at == now.expires_at


@pytest.mark.parametrize("act", ["start", "stop", "reboot"])
async def test_what_is_over_or_in_grace_is_refused(installation: Installation, act: str) -> None:
    row = (await installation.lease(minutes=60)).lease
    switch = power_of(installation, act)
    installation.pass_time(3601)
    in_grace = await installation.until_status(lease.LeaseStatus.STOPPED)

    with pytest.raises(errors.LeaseNotReady):
        await switch(in_grace)
    await installation.leases.end(in_grace)
    over = await installation.until_status(lease.LeaseStatus.ENDED)
    with pytest.raises(errors.LeaseOver):
        await switch(over)
    assert row.vmid not in installation.proxmox.world.guests


@pytest.mark.parametrize("act", ["start", "stop", "reboot"])
async def test_a_lease_that_moved_meanwhile_is_busy(installation: Installation, act: str) -> None:
    row = (await installation.lease(minutes=60)).lease
    down = row if act == "stop" else await installation.leases.stop(row)
    await installation.leases.end(down)

    with pytest.raises(errors.LeaseBusy):
        await power_of(installation, act)(down)


async def test_of_many_at_once_the_last_word_stands(installation: Installation) -> None:
    row = (await installation.lease()).lease

    await asyncio.gather(*(installation.leases.stop(row) for _ in range(5)))
    await installation.settled_down()

    (now,) = await installation.leases_now()
    assert not now.is_to_run
    assert not installation.runs(row.vmid)


async def test_a_stopped_lease_keeps_its_room_and_grace_its_disk_alone(
    installation: Installation,
) -> None:
    row = (await installation.lease(minutes=60)).lease
    await installation.leases.stop(row)
    stopped = await promised(installation)
    installation.pass_time(3601)
    await installation.until_status(lease.LeaseStatus.STOPPED)

    in_grace = await promised(installation)

    assert stopped == (row.size.cores, row.size.memory_mb, row.size.disk_gb)
    assert in_grace == (0, 0, row.size.disk_gb)


async def test_a_renewal_in_grace_needs_room(installation: Installation) -> None:
    tenant = installation.tenant()
    row = (await installation.lease(tenant, minutes=60)).lease
    installation.pass_time(3601)
    in_grace = await installation.until_status(lease.LeaseStatus.STOPPED)
    renewal = installation.renewal(tenant, row, 30)
    before = installation.earned
    limits = installation.parts.lease_options.limits
    object.__setattr__(limits, "memory_reserve_mb", 10**9)

    with pytest.raises(errors.NoCapacity):
        await installation.leases.check_renewable(in_grace, 30)
    with pytest.raises(errors.NoCapacity):
        await installation.leases.renew(in_grace, 30, renewal)

    assert installation.earned == before


@pytest.mark.parametrize(("minutes", "hours"), [(1, 0.4), (5, 2), (30, 12), (60, 24), (600, 24)])
async def test_grace_is_in_proportion_to_what_was_paid(
    installation: Installation, minutes: int, hours: float
) -> None:
    await installation.lease(minutes=minutes)
    before = await installation.parts.db.time()
    installation.pass_time(minutes * 60 + 1)

    row = await installation.until_status(lease.LeaseStatus.STOPPED)

    assert row.deletes_at is not None
    grace = (row.deletes_at - before).total_seconds() - minutes * 60
    assert abs(grace - hours * 3600) < 120 + 24 * 5


def power_of(
    installation: Installation, act: str
) -> Callable[[lease.Lease], Awaitable[lease.Lease]]:
    """The call of that name."""
    found: Callable[[lease.Lease], Awaitable[lease.Lease]] = getattr(installation.leases, act)
    return found


async def promised(installation: Installation) -> tuple[int, int, int]:
    """Cores, memory and disk that leases take."""
    async with installation.parts.db.read() as tx:
        (promise,) = await lease_rows.list_promises(tx)
    return promise.size.cores, promise.size.memory_mb, promise.size.disk_gb


async def reconcile(installation: Installation) -> None:
    """Look once, at what Proxmox shows by now."""
    await installation.proxmox.publish()
    await installation.parts.lease_reconciler.run_once()


@pytest.mark.parametrize("by_reconciler", [False, True])
async def test_why_a_guest_did_not_start_is_shown_to_the_operator(
    installation: Installation, by_reconciler: bool
) -> None:
    row = (await installation.lease()).lease
    stopped = await installation.leases.stop(row)
    text = "lxc-start: cgroup is full"
    if by_reconciler:
        started = await installation.leases.start(stopped)
        guest = installation.proxmox.world.guests[started.vmid]
        guest.pid = guest.started_at = None
    installation.proxmox.world.faults.order_for_task(TaskFault(type="vzstart", text=text))

    if by_reconciler:
        await reconcile(installation)
    else:
        await installation.leases.start(stopped)

    (now,) = await installation.leases_now()
    assert now.last_error is not None
    assert "task log:" in now.last_error
    assert text in now.last_error


async def test_a_renewal_does_not_delay_a_stop_that_is_not_done_yet(
    installation: Installation,
) -> None:
    tenant = installation.tenant()
    row = (await installation.lease(tenant, minutes=60)).lease
    parts = installation.parts
    await parts.lease_worker.stop()
    async with parts.db.begin() as tx:
        wanted = await moves.want_stopped(parts.db, tx, row, power.WantedBy.TENANT)
        held = await moves.hold(tx, wanted, "o1", parts.db.now(60))
        longer = await moves.extend(tx, held, 30, await parts.db.time_in(tx))

    assert row.expires_at is not None
    assert longer.expires_at == row.expires_at + timedelta(minutes=30)
    assert longer.due_at == wanted.due_at
    assert longer.due_at < row.expires_at


async def test_a_renewal_of_a_lease_that_waits_for_nothing_is_due_at_its_end(
    installation: Installation,
) -> None:
    tenant = installation.tenant()
    row = (await installation.lease(tenant, minutes=60)).lease

    longer = await installation.leases.renew(row, 30, installation.renewal(tenant, row, 30))

    assert longer.lease.due_at == longer.lease.expires_at


@pytest.mark.parametrize(("seconds", "is_longer"), [(10.0, False), (900.0, True)])
async def test_a_hold_is_never_shortened(
    installation: Installation, seconds: float, is_longer: bool
) -> None:
    row = (await installation.lease()).lease
    parts = installation.parts
    async with parts.db.begin() as tx:
        held = await moves.hold(tx, row, "o1", parts.db.now(300))
        again = await moves.hold_longer(parts.db, tx, held, "o1", seconds)

    assert held.hold_until is not None
    assert again.hold_until is not None
    assert (again.hold_until > held.hold_until) is is_longer
    assert again.hold_until >= held.hold_until
