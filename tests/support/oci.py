"""An installation that sells containers of OCI images, and what Proxmox holds of those."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.images import SHIPPED
from tests.support.installation import Installation, World, running

from pve402.domain import oci, oci_files
from pve402.leases import oci_guests
from pve402.storage import oci_rows
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve import options, simulator
from pve402_devnet.pve.registries import REGISTRIES, Registry

BUSYBOX = oci.Reference.parse("docker.io/library/busybox:1.36")
FOREIGN = oci.Reference.parse("docker.io/arm64v8/busybox:1.36")
SHELLLESS = oci.Reference.parse("registry.k8s.io/pause:3.10")
SKU = "basic-lxc"  # the last of the shipped catalogue
WISH: dict[str, Any] = {"sku": SKU, "template": "box"}


@pytest.fixture
async def oci_world(
    chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> AsyncIterator[World]:
    """A cluster of one node with the usual registries."""
    async with proxmox() as cluster:
        yield cluster, chain, facilitator


def proxmox(
    *nodes: str, registries: tuple[Registry, ...] = REGISTRIES, **storage: Any
) -> simulator.SimulatedProxmox:
    """A cluster whose work takes no time, with registries."""
    chosen = options.SimulatorOptions(
        nodes=tuple(options.NodeOptions(name=name) for name in nodes or ("pve",)),
        storages=(options.StorageOptions(**storage),),
        progress=options.Progress.IMMEDIATELY,
        publish_interval_seconds=0.05,
        auth_failure_seconds=0.0,
        registries=registries,
    )
    return simulator.SimulatedProxmox(chosen)


def registry(**changes: Any) -> tuple[Registry, ...]:
    """Docker's registry with a busybox that differs."""
    changed = dataclasses.replace(REGISTRIES[0].images[0], **changes)
    return (Registry(host="docker.io", images=(changed,)),)


def catalogue(
    tmp_path: Path, reference: oci.Reference = BUSYBOX, image: str = "", more: str = ""
) -> Path:
    """A catalogue with an OCI image, by the name `box`."""
    file = tmp_path / "catalogue.toml"
    table = f'[image.box]\noci = "{reference}"\nos = "BusyBox"\n{image}\n'
    file.write_text(f'{SHIPPED}\nimages = ["box"]\n{table}\n{more}')
    return file


@contextlib.asynccontextmanager
async def selling(tmp_path: Path, world: World, **changes: Any) -> AsyncIterator[Installation]:
    """A running installation with the catalogue of `tmp_path`."""
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, pve402_catalogue=tmp_path / "catalogue.toml", **changes) as it:
        yield it


async def files(shop: Installation) -> list[oci_files.OciFile]:
    """The rows of files."""
    async with shop.parts.db.read() as tx:
        return await oci_rows.list_all(tx)


async def tried(shop: Installation, verdict: str = oci_files.PASSED) -> list[oci_files.OciFile]:
    """Wait until all files have this verdict, no trial is left, and all may be sold."""
    for _ in range(400):
        await shop.parts.image_keeper.run_once()
        await shop.settled_down()
        found = await files(shop)
        if found and all((row.verdict, row.fence) == (verdict, None) for row in found):
            await shop.parts.image_keeper.run_once()
            return found
        await asyncio.sleep(0.01)
        shop.pass_time(0.5)
    raise TimeoutError(f"the files are not as wanted: {await files(shop)}")


async def failed(shop: Installation, problem: str) -> list[oci_files.OciFile]:
    """Wait until all files rest after a failure."""
    for _ in range(400):
        await shop.parts.image_keeper.run_once()
        found = await files(shop)
        if found and all((row.problem, row.fence) == (problem, None) for row in found):
            return found
        await asyncio.sleep(0.01)
    raise TimeoutError(f"the files are not as wanted: {await files(shop)}")


async def until(
    shop: Installation, holds: Callable[[oci_files.OciFile], bool]
) -> oci_files.OciFile:
    """Wait until something holds of a file that nobody works on."""
    for _ in range(400):
        await shop.parts.image_keeper.run_once()
        shop.parts.lease_worker.wake()
        for row in await files(shop):
            if row.fence is None and holds(row):
                return row
        await asyncio.sleep(0.01)
    raise TimeoutError(f"the files are not as wanted: {await files(shop)}")


def pulls(shop: Installation) -> int:
    """How many pulls Proxmox was asked for."""
    kinds = [task.upid.type for task in shop.proxmox.world.tasks]
    return kinds.count("ociregistrypull")


def lives(values: dict[str, Any]) -> bool:
    """Whether a guest's options have a console with a shell, and a program that stays."""
    return values["cmode"] == "shell" and values.get("entrypoint") == oci_guests.ENTRYPOINT
