"""Disks go to the first storage of the sku that a node has and that has room."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import installation as installations
from tests.support.installation import Installation, running

from pve402.domain import errors
from pve402.proxmox import storage
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.faults import TaskFault
from pve402_devnet.pve.options import LOCAL_LVM, NodeOptions, SimulatorOptions, StorageOptions
from pve402_devnet.pve.simulator import SimulatedProxmox

World = tuple[SimulatedProxmox, SimulatedChain, SimulatedFacilitator]
SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()
BOTH = SHIPPED.replace("[sku.standard-lxc]", '[sku.standard-lxc]\nstorages = ["fast", "slow"]')
GIB = 2**30
FAST = dataclasses.replace(LOCAL_LVM, name="fast", nodes=("one",), total_bytes=30 * GIB)
SLOW = dataclasses.replace(LOCAL_LVM, name="slow", total_bytes=400 * GIB)


@pytest.fixture
async def proxmox() -> AsyncIterator[SimulatedProxmox]:
    """Two nodes; one of them has a small, fast storage too."""
    with_one = installations.simulated_proxmox("one", "two").options
    chosen: SimulatorOptions = dataclasses.replace(
        with_one,
        nodes=(NodeOptions(name="one"), NodeOptions(name="two")),
        storages=(StorageOptions(), FAST, SLOW),
    )
    async with SimulatedProxmox(chosen) as cluster:
        yield cluster


@pytest.fixture
async def made(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> AsyncIterator[Installation]:
    """An installation that sells both storages."""
    file = tmp_path / "catalogue.toml"
    file.write_text(BOTH)
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, proxmox, chain, facilitator, pve402_catalogue=file) as one:
        yield one


def disk_of(made: Installation, vmid: int) -> tuple[str, str]:
    """A guest's node, and the storage of its disk on Proxmox."""
    guest = made.proxmox.world.guests[vmid]
    return guest.node, guest.config.text("rootfs").partition(":")[0]


async def test_disks_fill_the_first_storage_and_then_the_next(made: Installation) -> None:
    rows = [(await made.lease()).lease for _ in range(8)]

    places = [disk_of(made, row.vmid) for row in rows]
    assert places == [(row.node, row.storage) for row in rows]
    assert places.count(("one", "fast")) == 3  # of 8 GiB each, on 30
    assert {place for place in places if place[0] == "two"} == {("two", "slow")}
    assert ("one", "slow") in places


async def test_a_full_storage_is_passed_over_for_another(made: Installation) -> None:
    fault = TaskFault(type="vzcreate", text="unable to create CT 10000 - no space left on device")
    made.proxmox.world.faults.order_for_task(fault)

    row = (await made.lease()).lease

    assert made.runs(row.vmid)
    assert disk_of(made, row.vmid) == (row.node, row.storage)


async def test_a_sku_whose_storages_are_nowhere_is_not_sold(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(
        BOTH.replace('"fast", "slow"', '"fast", "typo"').replace(
            "sku.basic-lxc]", 'sku.basic-lxc]\nnodes = ["two"]\nstorages = ["typo"]'
        )
    )
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, proxmox, chain, facilitator, pve402_catalogue=file) as made:
        row = (await made.lease()).lease
        with pytest.raises(errors.NoCapacity):
            await made.lease(sku="basic-lxc")

        assert (row.node, row.storage) == ("one", "fast")
        assert {lack.node for lack in made.parts.nodes_check.lacks} == {"two"}


async def test_templates_that_a_node_lacks_are_made_elsewhere_from_the_first_creation(
    made: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = storage.Storages.templates

    async def templates(self: storage.Storages, node: str, name: str) -> Any:
        return [] if node == "one" else await honest(self, node, name)

    monkeypatch.setattr(storage.Storages, "templates", templates)
    await made.parts.nodes_check.look()
    asked = made.record_proxmox_calls()

    rows = [(await made.lease()).lease for _ in range(3)]

    creations = [call for call in asked if call.endswith("/lxc") and call.startswith("POST")]
    assert {row.node for row in rows} == {"two"}
    assert len(creations) == 3
