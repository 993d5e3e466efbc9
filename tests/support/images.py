"""An installation that prepares an image, and what Proxmox holds of it and of its clones."""

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from tests.support.installation import TEMPLATE, Installation, World, simulated_proxmox

from pve402.domain import lease, mark
from pve402.proxmox.resources import ClusterResources
from pve402.storage import image_rows
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve import simulator
from pve402_devnet.pve.options import StorageOptions

SHIPPED = resources.files("pve402.domain").joinpath("default_catalogue.toml").read_text()
SKU = "basic-lxc"  # the last of the shipped catalogue
OTHER = "local:vztmpl/alpine-3.22-default_20250617_amd64.tar.xz"


@pytest.fixture
async def image_proxmox() -> AsyncIterator[simulator.SimulatedProxmox]:
    """A cluster of one node whose storage makes linked clones."""
    storage = StorageOptions(type="btrfs", snapshots=True)
    async with simulated_proxmox(storage=storage) as made:
        yield made


@pytest.fixture
def image_world(
    image_proxmox: simulator.SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> World:
    """What lives on when an installation ends."""
    return image_proxmox, chain, facilitator


def catalogue(tmp_path: Path, template: str = TEMPLATE, more: str = "", sku: str = "") -> Path:
    """A catalogue with a prepared image, by the name `small`."""
    file = tmp_path / "catalogue.toml"
    image = f'[image.small]\ntemplate = "{template}"\nprepare = true\n'
    file.write_text(f'{SHIPPED}\nimages = ["small"]\n{sku}\n{image}\n{more}')
    return file


async def prepared(shop: Installation, count: int = 1) -> list[lease.Lease]:
    """Wait until so many images can be cloned and none is being made or destroyed."""
    for _ in range(600):
        await shop.parts.image_keeper.run_once()
        await shop.settled_down()
        rows = await images(shop)
        ready = [row for row in rows if row.status is lease.LeaseStatus.STOPPED]
        if len(ready) == count == len(rows):
            return ready
        await asyncio.sleep(0.01)
        shop.pass_time(0.5)
    raise TimeoutError(f"the images are not as wanted: {rows}")


def touch(shop: Installation, volume: str) -> None:
    """Have an operator replace the file of a template."""
    name = volume.rpartition("/")[2]
    (storage,) = (one for one in shop.proxmox.world.storages if name in one.templates)
    found = storage.templates[name]
    storage.templates[name] = dataclasses.replace(found, size_bytes=found.size_bytes + 1)


async def images(shop: Installation) -> list[lease.Lease]:
    """The images that are not gone."""
    async with shop.parts.db.read() as tx:
        return await image_rows.list_standing(tx)


def options_of(shop: Installation, vmid: int) -> dict[str, Any]:
    """A guest's options as Proxmox has them."""
    return dict(shop.proxmox.world.guests[vmid].config.options)


def check_starts(rows: list[lease.Lease], seen: list[tuple[int, dict[str, Any]]]) -> None:
    """Whatever was started had the mark, the size and a card of its own lease.

    A copy that is started for the first time is not paid for, and on no network.
    """
    addresses: dict[str, str] = {}
    for vmid, options in seen:
        tags = str(options["tags"]).split(";")
        (row,) = (one for one in rows if one.vmid == vmid and mark.lease_tag(one.lease_id) in tags)
        assert row.account == row.owner != lease.IMAGE
        assert "template" not in options
        assert len(mark.leases_named(tags)) == 1
        size = (options["cores"], options["memory"])
        assert size == (row.size.cores, row.size.memory_mb)
        assert f"size={row.size.disk_gb}G" in options["rootfs"]
        (card,) = (part for part in options["net0"].split(",") if part.startswith("hwaddr="))
        if row.is_copy and card not in addresses:
            assert "link_down=1" in options["net0"].split(",")
        assert addresses.setdefault(card, row.lease_id) == row.lease_id


async def die_at(shop: Installation, point: str, when: str, then: Any) -> bool:
    """Let things go on until the n-th call that matches `METHOD path n`, and die there."""
    pattern, _, number = point.rpartition(" ")
    return await die_once(shop, _hang_at(shop, pattern, int(number), when), then)


async def die_once(shop: Installation, reached: asyncio.Event, then: Any) -> bool:
    """Let things go on until they reach a point or end, and die; return whether they reached it."""
    asking = asyncio.ensure_future(then)
    waiting = asyncio.ensure_future(reached.wait())
    await asyncio.wait({asking, waiting}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    await shop.die()
    for task in (asking, waiting):
        task.cancel()
    await asyncio.gather(asking, waiting, return_exceptions=True)
    return reached.is_set()


def _hang_at(shop: Installation, pattern: str, number: int, when: str) -> asyncio.Event:
    honest, seen, reached = shop.parts.proxmox.request, 0, asyncio.Event()

    async def counting(method: str, path: str, *rest: Any, **named: Any) -> Any:
        nonlocal seen
        seen += re.search(pattern, f"{method} {path}") is not None
        if seen != number or reached.is_set():
            return await honest(method, path, *rest, **named)
        if when == "after":
            with contextlib.suppress(Exception):
                await honest(method, path, *rest, **named)
        reached.set()
        return await asyncio.Future()

    shop.parts.proxmox.request = counting  # type: ignore[method-assign]
    return reached


async def come_round(shop: Installation) -> None:
    """Let the dead process's time limits run out, and a call that it may have sent arrive."""
    for seconds in (20, 100, 20):
        shop.pass_time(seconds)
        await shop.settled_down()


async def unaccounted(shop: Installation) -> list[str]:
    """What is wrong with guests on Proxmox: without a row, or with another one's mark."""
    rows = await shop.leases_now()
    standing = {row.vmid: row for row in rows if row.status not in lease.OVER}
    wrong = []
    for vmid, guest in shop.proxmox.world.guests.items():
        row = standing.get(vmid)
        tags = guest.config.text("tags").split(";")
        if row is None:
            wrong.append(f"guest {vmid} has no row")
        elif not mark.is_marked(tags, shop.parts.lease_options.instance, row.lease_id):
            wrong.append(f"guest {vmid} has the tags {tags}")
        elif guest.config.options.get("template") and not (row.is_image or row.is_private_image):
            wrong.append(f"guest {vmid} is a template")
    for storage in shop.proxmox.world.storages:
        owners = {volume.owner for volume in storage.volumes.values()}
        wrong += [f"disks of {owner}" for owner in owners - shop.proxmox.world.guests.keys()]
    return wrong


def starts(shop: Installation) -> list[tuple[int, dict[str, Any]]]:
    """The vmid and the options of every guest that is started from now on."""
    guests, seen = shop.parts.guests, list[tuple[int, dict[str, Any]]]()
    honest = guests.start

    async def watched(ref: Any) -> Any:
        seen.append((ref.vmid, options_of(shop, ref.vmid)))
        return await honest(ref)

    guests.start = watched  # type: ignore[method-assign]
    return seen


async def take_away(shop: Installation, node: str, *, for_good: bool = False) -> None:
    """Show the storages of a node as those of one that is being restarted, or no such node."""
    honest = shop.parts.nodes.cluster_resources

    async def without() -> ClusterResources:
        seen = await honest()
        rows = [dataclasses.replace(row, available=row.node != node) for row in seen.storages]
        nodes = [row for row in seen.nodes if not (for_good and row.node == node)]
        return dataclasses.replace(seen, storages=tuple(rows), nodes=tuple(nodes))

    shop.parts.nodes.cluster_resources = without  # type: ignore[method-assign]
    await shop.parts.view.fresh(0.0)
