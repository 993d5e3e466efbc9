"""A guest that was migrated to another node is still the lease's guest."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.integration.leases.test_reconciler import add_copy
from tests.support.installation import Installation, creation, simulated_proxmox

from pve402.domain import errors, lease
from pve402.proxmox import guests
from pve402_devnet.facilitator import Endpoint, Fault, FaultKind
from pve402_devnet.pve.simulator import SimulatedProxmox


@pytest.fixture
async def proxmox() -> AsyncIterator[SimulatedProxmox]:
    """A cluster of two nodes."""
    async with simulated_proxmox("one", "two") as running:
        yield running


async def test_a_migrated_guest_is_stopped_where_it_is(installation: Installation) -> None:
    row = (await installation.lease(minutes=10)).lease
    other = await migrate(installation, row)

    installation.pass_time(601)
    stopped = await installation.until_status(lease.LeaseStatus.STOPPED)

    assert stopped.node == other
    assert not installation.runs(row.vmid)
    assert row.vmid in installation.marked_guests


async def test_a_migrated_guest_is_deleted_where_it_is(installation: Installation) -> None:
    row = (await installation.lease()).lease
    await migrate(installation, row)

    await installation.leases.end(row)
    await installation.until_status(lease.LeaseStatus.ENDED)

    assert installation.marked_guests == set()


async def test_a_migrated_guest_is_renewed_where_it_is(installation: Installation) -> None:
    tenant = installation.tenant()
    row = (await installation.lease(tenant)).lease
    other = await migrate(installation, row)

    answer = await installation.leases.renew(row, 30, installation.renewal(tenant, row, 30))

    assert answer.lease.node == other
    assert answer.lease.status is lease.LeaseStatus.ACTIVE


async def test_a_paid_guest_that_was_migrated_before_it_starts_is_started_where_it_is(
    installation: Installation,
) -> None:
    lost = Fault(kind=FaultKind.PENDING_LOST, endpoint=Endpoint.SETTLE, times=None)
    installation.facilitator.faults.add(lost)
    wish = creation()
    asked = installation.buy(installation.tenant(), wish, wait_seconds=0)
    await installation.leases.create(wish, asked)
    settling = await installation.until_status(lease.LeaseStatus.SETTLING)
    installation.pass_time(61)
    await come_to(installation, lambda row: not installation.runs(row.vmid))

    other = await migrate(installation, settling)
    installation.facilitator.faults.clear()
    active = await come_to(installation, lambda row: row.status is lease.LeaseStatus.ACTIVE)

    assert (active.node, active.vmid) == (other, settling.vmid)
    assert installation.runs(active.vmid)


async def test_a_number_that_was_taken_on_another_node_meanwhile_is_changed(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    like = (await installation.lease()).lease
    world, honest = installation.proxmox.world, installation.parts.guests.create
    taken: list[int] = []

    async def create(ref: guests.GuestRef, spec: guests.GuestSpec) -> Any:
        if not taken:
            taken.append(ref.vmid)
            guest = copy.deepcopy(world.guests[like.vmid])
            guest.vmid, guest.node = ref.vmid, "two" if ref.node == "one" else "one"
            guest.config.options["tags"] = "somebody-else"
            world.guests[ref.vmid] = guest
        return await honest(ref, spec)

    monkeypatch.setattr(installation.parts.guests, "create", create)

    answer = await installation.lease()

    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    assert answer.lease.vmid not in taken


async def test_without_a_free_number_nothing_is_charged(installation: Installation) -> None:
    first = (await installation.lease()).lease
    earned = installation.earned
    foreign = add_copy(installation, first.vmid, tags="somebody-else")
    object.__setattr__(installation.parts.lease_options, "vmid_max", foreign.vmid)

    with pytest.raises(errors.ProvisioningFailed):
        await installation.lease()

    assert installation.earned == earned


async def come_to(installation: Installation, holds: Callable[[lease.Lease], bool]) -> lease.Lease:
    """Pass time until something holds of the one lease."""
    for _ in range(400):
        (row,) = await installation.leases_now()
        if holds(row):
            return row
        installation.pass_time(2)
        await asyncio.sleep(0.02)
    raise TimeoutError


async def migrate(installation: Installation, row: lease.Lease) -> str:
    """Have the operator move the guest, and return where it is now."""
    other = "two" if row.node == "one" else "one"
    installation.proxmox.world.guests[row.vmid].node = other
    await installation.proxmox.publish()
    return other
