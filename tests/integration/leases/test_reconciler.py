"""Compares leases with guests: gaps that are certainly ours are closed, the rest is reported."""

import asyncio
import copy
from typing import Any

import pytest
from tests.support.installation import Installation

from pve402.domain import lease
from pve402.leases import reconciler
from pve402_devnet.pve import cluster


async def test_an_active_lease_whose_guest_is_gone_ends_with_a_reason(
    installation: Installation,
) -> None:
    row = (await installation.lease()).lease
    del installation.proxmox.world.guests[row.vmid]

    await reconcile(installation)
    ended = await installation.until_status(lease.LeaseStatus.ENDED)

    assert ended.end_reason == "guest_vanished"


async def test_a_guest_that_went_down_in_its_paid_time_is_started_again(
    installation: Installation,
) -> None:
    row = (await installation.lease()).lease
    go_down(installation, row.vmid)

    await reconcile(installation)

    assert installation.runs(row.vmid)


async def test_a_guest_that_keeps_going_down_is_left_after_some_tries(
    installation: Installation,
) -> None:
    row = (await installation.lease()).lease
    limit = installation.parts.lease_options.restarts_an_hour
    for _ in range(limit):
        go_down(installation, row.vmid)
        await reconcile(installation)
    go_down(installation, row.vmid)

    await reconcile(installation)

    assert not installation.runs(row.vmid)


async def test_a_guest_that_runs_after_its_end_is_stopped_again(
    installation: Installation,
) -> None:
    row = (await installation.lease(minutes=10)).lease
    installation.pass_time(601)
    stopped = await installation.until_status(lease.LeaseStatus.STOPPED)
    await installation.parts.machines.ensure_running(stopped)

    await reconcile(installation)
    now = await installation.until_status(lease.LeaseStatus.STOPPED)

    assert not installation.runs(row.vmid)
    assert now.deletes_at == stopped.deletes_at


async def test_a_guest_that_was_renewed_meanwhile_is_not_stopped_again(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = installation.tenant()
    await installation.lease(tenant, minutes=10)
    installation.pass_time(601)
    stopped = await installation.until_status(lease.LeaseStatus.STOPPED)
    view = installation.parts.view
    honest = view.fresh

    async def slow(within_seconds: float) -> Any:
        await installation.leases.renew(stopped, 30, installation.renewal(tenant, stopped, 30))
        await installation.proxmox.publish()
        return await honest(within_seconds)

    monkeypatch.setattr(view, "fresh", slow)

    await installation.parts.lease_reconciler.run_once()
    await installation.settled_down()

    (now,) = await installation.leases_now()
    assert now.status is lease.LeaseStatus.ACTIVE
    assert installation.runs(stopped.vmid)


async def test_of_several_replicas_one_starts_a_guest_again(installation: Installation) -> None:
    row = (await installation.lease()).lease
    go_down(installation, row.vmid)
    await installation.proxmox.publish()
    parts = installation.parts
    replicas = [
        reconciler.Reconciler(
            parts.db,
            parts.view,
            parts.machines,
            parts.lease_options,
            parts.guest_network,
            parts.lease_reconciler.idle,
            fork_ends=parts.lease_reconciler.fork_ends,
        )
        for _ in range(5)
    ]
    asked = installation.record_proxmox_calls()

    await asyncio.gather(*(replica.run_once() for replica in replicas))

    assert [call for call in asked if call.endswith("/start")] == [
        f"POST /nodes/pve/lxc/{row.vmid}/status/start"
    ]


async def test_a_guest_that_does_not_start_holds_up_no_other(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = [(await installation.lease()).lease for _ in range(2)]
    for row in (first, second):
        go_down(installation, row.vmid)
    machines = installation.parts.machines
    honest, hangs, second_runs = machines.ensure_running, asyncio.Event(), asyncio.Event()

    async def start(row: lease.Lease, **options: Any) -> None:
        if row.lease_id == first.lease_id:
            await hangs.wait()
        await honest(row, **options)
        if row.lease_id == second.lease_id:
            second_runs.set()

    monkeypatch.setattr(machines, "ensure_running", start)

    comparing = asyncio.create_task(reconcile(installation))
    async with asyncio.timeout(20):
        await second_runs.wait()
    ran = installation.runs(first.vmid)
    hangs.set()
    await comparing

    assert not ran
    assert installation.runs(first.vmid)
    assert installation.runs(second.vmid)


async def test_a_guest_of_ours_without_a_lease_is_reported_and_left(
    installation: Installation,
) -> None:
    row = (await installation.lease()).lease
    orphan = add_copy(installation, row.vmid, tags="pve402-test;lease-l" + "0" * 25)

    report = await reconcile(installation)

    assert [stranger.vmid for stranger in report.strangers] == [orphan.vmid]
    assert orphan.vmid in installation.proxmox.world.guests


async def test_a_second_guest_with_the_tags_of_a_lease_is_reported(
    installation: Installation,
) -> None:
    row = (await installation.lease()).lease
    tags = installation.proxmox.world.guests[row.vmid].config.text("tags")
    second = add_copy(installation, row.vmid, tags=tags)

    report = await reconcile(installation)

    assert [stranger.vmid for stranger in report.strangers] == [second.vmid]


async def test_another_installation_is_nobodys_business(installation: Installation) -> None:
    row = (await installation.lease()).lease
    add_copy(installation, row.vmid, tags="pve402-other;lease-l" + "0" * 25)
    add_copy(installation, row.vmid + 1, tags="")

    report = await reconcile(installation)

    assert report.strangers == ()
    assert report.ours == 1


async def test_a_creation_lock_without_a_lease_is_reported(installation: Installation) -> None:
    row = (await installation.lease()).lease
    locked = add_copy(installation, row.vmid, tags="")
    locked.config.options["lock"] = "create"

    report = await reconcile(installation)

    assert [stranger.reason for stranger in report.strangers] == ["locked for creation"]


async def test_nothing_is_done_to_a_lease_whose_vmid_shows_a_foreign_guest(
    installation: Installation,
) -> None:
    row = (await installation.lease()).lease
    guest = installation.proxmox.world.guests[row.vmid]
    guest.config.options["tags"] = "somebody-else"
    go_down(installation, row.vmid)

    await reconcile(installation)

    (now,) = await installation.leases_now()
    assert now.status is lease.LeaseStatus.ACTIVE
    assert not installation.runs(row.vmid)


async def reconcile(installation: Installation):  # type: ignore[no-untyped-def]
    """Compare once, with guest figures as they are now."""
    await installation.proxmox.publish()
    return await installation.parts.lease_reconciler.run_once()


def go_down(installation: Installation, vmid: int) -> None:
    """Have a guest go down by itself."""
    guest = installation.proxmox.world.guests[vmid]
    guest.pid = guest.started_at = None


def add_copy(installation: Installation, like: int, *, tags: str) -> cluster.Guest:
    """Put a copy of a guest on the next vmid, with other tags."""
    guest = copy.deepcopy(installation.proxmox.world.guests[like])
    guest.vmid = like + 1
    guest.config.options["tags"] = tags
    world = installation.proxmox.world
    world.guests[guest.vmid] = guest
    world.runtime._running[guest.vmid] = world.runtime._running[like]
    return guest
