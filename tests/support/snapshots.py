"""An installation whose storage takes snapshots, and what Proxmox holds of them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.installation import Installation, World, running, simulated_proxmox

from pve402.domain import snapshots
from pve402.storage import tables
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve import simulator
from pve402_devnet.pve.options import StorageOptions

AT_MOST = 2


@pytest.fixture
async def snapshot_proxmox() -> AsyncIterator[simulator.SimulatedProxmox]:
    """A cluster of one node whose storage takes snapshots."""
    async with simulated_proxmox(storage=StorageOptions(snapshots=True)) as made:
        yield made


@pytest.fixture
def snapshot_world(
    snapshot_proxmox: simulator.SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> World:
    """What lives on when an installation ends."""
    return snapshot_proxmox, chain, facilitator


@pytest.fixture
async def shop(tmp_path: Path, snapshot_world: World) -> AsyncIterator[Installation]:
    """A running installation that allows a few snapshots."""
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *snapshot_world, pve402_snapshots=AT_MOST) as made:
        yield made


@pytest.fixture
async def either_shop(database_url: str, snapshot_world: World) -> AsyncIterator[Installation]:
    """The same on either kind of database."""
    async with running(database_url, *snapshot_world, pve402_snapshots=AT_MOST) as made:
        yield made


def on_proxmox(shop: Installation, vmid: int) -> dict[str, Any]:
    """The snapshots that Proxmox has of a guest, by their names there."""
    return shop.proxmox.world.guests[vmid].config.snapshots


async def rows(shop: Installation) -> list[snapshots.Snapshot]:
    """All rows of snapshots, oldest first."""
    return [snapshots.Snapshot.from_row(row) for row in await shop.rows(tables.snapshots)]


async def unaccounted(shop: Installation) -> set[str]:
    """Names of snapshots that only one of table and Proxmox has; failed ones are nowhere."""
    guests = shop.proxmox.world.guests.values()
    there = {name for guest in guests for name in guest.config.snapshots}
    state = snapshots.State.FAILED
    return there ^ {one.pve_name for one in await rows(shop) if one.state is not state}


def options_of(shop: Installation, vmid: int) -> dict[str, Any]:
    """A guest's options as Proxmox has them, but for what a rollback adds."""
    found = dict(shop.proxmox.world.guests[vmid].config.options)
    found.pop("parent", None)
    return found


def edit(shop: Installation, vmid: int, **options: Any) -> None:
    """Have somebody change a guest's options on Proxmox itself."""
    for name, value in options.items():
        shop.proxmox.world.guests[vmid].config.put(name, value)


def starts(shop: Installation, vmid: int) -> list[dict[str, Any]]:
    """The guest's options at each start from now on."""
    guests, seen = shop.parts.guests, list[dict[str, Any]]()
    honest = guests.start

    async def watched(ref: Any) -> Any:
        seen.append(options_of(shop, vmid))
        return await honest(ref)

    guests.start = watched  # type: ignore[method-assign]
    return seen


async def postponed(shop: Installation) -> None:
    """Wait until the worker has put a snapshot off for a while."""
    for _ in range(4000):
        (row,) = await shop.leases_now()
        waits = row.due_at is not None and row.due_at > await shop.parts.db.time()
        if waits and row.fence is None and row.due_at != row.expires_at:
            return
        await asyncio.sleep(0.005)
    raise TimeoutError("the worker is not done")
