"""A node that the operator empties gets nothing new; what it holds runs on."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.console import Console
from tests.support.installation import Installation, running, simulated_proxmox

from pve402.domain import errors, lease
from pve402.ops import draining
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox

SKU, SIZE = "standard-lxc", lease.Size(cores=1, memory_mb=512, disk_gb=8)


@pytest.fixture
async def proxmox() -> AsyncIterator[SimulatedProxmox]:
    """A cluster of three nodes, whose work takes no time."""
    async with simulated_proxmox("one", "two", "three") as running_cluster:
        yield running_cluster


class Screen:
    """Catches what a command prints."""

    def __init__(self) -> None:
        self._file = io.StringIO()
        self.console = Console(file=self._file, width=300)

    @property
    def text(self) -> str:
        """Everything printed so far."""
        return self._file.getvalue()


async def drain(installation: Installation, *nodes: str) -> str:
    """Drain nodes and return what the operator reads."""
    screen = Screen()
    for node in nodes:
        assert await draining.drain(installation.parts, screen.console, node=node) == 0
    return screen.text


async def test_new_leases_go_elsewhere(installation: Installation) -> None:
    await drain(installation, "one", "two")

    rows = [(await installation.lease()).lease for _ in range(4)]

    assert {row.node for row in rows} == {"three"}


async def test_a_drained_cluster_sells_nothing_and_asks_for_nothing(
    installation: Installation,
) -> None:
    await drain(installation, "one", "two", "three")
    sku = installation.leases.catalogue.sku(SKU)

    with pytest.raises(errors.NoCapacity):
        await installation.leases.check_room(sku, SIZE)
    with pytest.raises(errors.NoCapacity):
        await installation.lease()

    assert installation.earned == 0


async def test_a_drained_node_keeps_its_leases(installation: Installation) -> None:
    tenant = installation.tenant()
    row = (await installation.lease(tenant, minutes=60)).lease
    shown = await drain(installation, row.node)

    renewed = await installation.leases.renew(row, 30, installation.renewal(tenant, row, 30))

    assert row.lease_id in shown
    assert renewed.lease.status is lease.LeaseStatus.ACTIVE
    assert installation.runs(row.vmid)


async def test_nothing_returns_from_grace_to_a_drained_node(installation: Installation) -> None:
    tenant = installation.tenant()
    row = (await installation.lease(tenant, minutes=60)).lease
    installation.pass_time(3601)
    row = await installation.until_status(lease.LeaseStatus.STOPPED)
    earned = installation.earned
    await drain(installation, row.node)

    with pytest.raises(errors.NoCapacity):
        await installation.leases.check_renewable(row, 30)
    with pytest.raises(errors.NoCapacity):
        await installation.leases.renew(row, 30, installation.renewal(tenant, row, 30))

    assert installation.earned == earned


async def test_the_warm_pool_leaves_a_drained_node(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    pool = "standard-lxc:1:512:8=2"
    async with running(url, proxmox, chain, facilitator, pve402_pool=pool) as made:
        before = await made.pool_of(2)
        drained = before[0].node

        await drain(made, drained)
        made.parts.filler.wake()
        await made.until(lambda row: row.node == drained and row.status is lease.LeaseStatus.FAILED)
        after = await made.pool_of(2)

        assert drained not in {row.node for row in after}


async def test_a_node_is_used_again(installation: Installation) -> None:
    await drain(installation, "one", "two", "three")

    code = await draining.undrain(installation.parts, Screen().console, node="two")
    again = await draining.undrain(installation.parts, Screen().console, node="two")

    assert (code, again) == (0, draining.EXIT_REFUSED)
    assert (await installation.lease()).lease.node == "two"


@pytest.mark.parametrize("node", ["four", "", "ONE", "one ", "../one"])
async def test_a_node_that_the_cluster_does_not_have_is_refused(
    installation: Installation, node: str
) -> None:
    code = await draining.drain(installation.parts, Screen().console, node=node)

    assert code == draining.EXIT_REFUSED
