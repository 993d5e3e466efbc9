"""300 leases on three nodes: spread by capacity, one drained, one dead, one without the template.

Nothing is asserted about speed. `make bench` shows where the leases went.
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.chain import chain, facilitator
from tests.support.installation import Installation, creation, running

from pve402.domain import errors, lease
from pve402.storage import drain_rows
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve import options as pve
from pve402_devnet.pve.simulator import SimulatedProxmox

__all__ = ["chain", "facilitator"]

GIB = 2**30
MEMORY_GIB = {"one": 32, "two": 64, "three": 96}
SMALL = lease.Size(cores=1, memory_mb=512, disk_gb=1)
AT_ONCE = 12
SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()
SPECIAL = 'templates = { special = "tpl:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz" }\n'
TEMPLATE = pve.TemplateOptions(
    storage="tpl", name="busybox-alpine-3.22_1_amd64.tar.gz", size_bytes=1_072_843
)


@pytest.fixture
async def proxmox() -> AsyncIterator[SimulatedProxmox]:
    """Three machines of different size; the storage with a second template is on two of them."""
    templates = pve.StorageOptions(name="tpl", content=("vztmpl",), nodes=("one", "two"))
    chosen = pve.SimulatorOptions(
        nodes=tuple(
            pve.NodeOptions(name=name, cpus=64, memory_bytes=gib * GIB)
            for name, gib in MEMORY_GIB.items()
        ),
        storages=(pve.StorageOptions(total_bytes=4096 * GIB), templates),
        templates=(*pve.TEMPLATES, TEMPLATE),
        progress=pve.Progress.IMMEDIATELY,
        publish_interval_seconds=0.05,
        auth_failure_seconds=0.0,
    )
    async with SimulatedProxmox(chosen) as cluster:
        yield cluster


async def test_300_leases(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(SHIPPED + SPECIAL)  # of basic-lxc, the last sku
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, proxmox, chain, facilitator, pve402_catalogue=file) as made:
        began = time.perf_counter()
        by_capacity = await sell(made, 120, "all nodes")
        await drain(made, "one")
        while_drained = await sell(made, 60, "one drained")
        proxmox.world.offline = {"two"}
        await proxmox.publish()
        await made.parts.view.fresh(0.0)
        while_dead = await sell(made, 60, "one drained, two dead")
        proxmox.world.offline = set()
        await undrain(made, "one")
        await proxmox.publish()
        await made.parts.view.fresh(0.0)
        of_template = await sell(made, 60, "a template that three lacks", sku="basic-lxc")
        seconds = time.perf_counter() - began

        rows = await made.leases_now()
        print(f"\n300 leases in {seconds:.1f} s; not sold: {300 - len(rows)}")

        assert {row.status for row in rows} == {lease.LeaseStatus.ACTIVE}
        assert len(rows) == 300 == len(made.marked_guests)
        assert sum(made.runs(row.vmid) for row in rows) == 300
        assert made.earned == sum(one.amount_atomic for one in await made.orders_now())
        assert all(guest_node(made, row) == row.node for row in rows)
        assert free_gib(by_capacity, "two") - free_gib(by_capacity, "three") in {-0.5, 0.0, 0.5}
        assert while_drained["one"] == 0
        assert (while_dead["one"], while_dead["two"]) == (0, 0)
        assert of_template["three"] == 0


def guest_node(made: Installation, row: lease.Lease) -> str:
    return made.proxmox.world.guests[row.vmid].node


def free_gib(sold: collections.Counter[str], node: str) -> float:
    return MEMORY_GIB[node] - sold[node] * SMALL.memory_mb / 1024


async def drain(made: Installation, node: str) -> None:
    async with made.parts.db.begin() as tx:
        await drain_rows.put(made.parts.db, tx, node)


async def undrain(made: Installation, node: str) -> None:
    async with made.parts.db.begin() as tx:
        await drain_rows.remove(tx, node)


async def sell(
    made: Installation, count: int, what: str, sku: str = "standard-lxc"
) -> collections.Counter[str]:
    """Sell so many leases, some at once; return how many went to each node."""
    turns = asyncio.Semaphore(AT_ONCE)
    refused: list[str] = []

    async def buy() -> lease.Lease | None:
        wish = creation(sku=sku, size=SMALL)
        async with turns:
            try:
                return (await made.leases.create(wish, made.buy(made.tenant(), wish))).lease
            except errors.Pve402Error as error:
                refused.append(error.code)
                return None

    sold = [row for row in await asyncio.gather(*(buy() for _ in range(count))) if row]
    places = collections.Counter(row.node for row in sold)
    shown = ", ".join(f"{node} {places[node]}" for node in MEMORY_GIB)
    print(f"{what}: {len(sold)} of {count} sold; {shown}; refused: {refused or 'none'}")
    return places
