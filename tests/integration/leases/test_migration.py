"""A guest that was migrated to another node is still the lease's guest."""

from collections.abc import AsyncIterator

import pytest
from tests.support.installation import Installation, simulated_proxmox

from pve402.domain import lease
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


async def migrate(installation: Installation, row: lease.Lease) -> str:
    """Have the operator move the guest, and return where it is now."""
    other = "two" if row.node == "one" else "one"
    installation.proxmox.world.guests[row.vmid].node = other
    await installation.proxmox.publish()
    return other
