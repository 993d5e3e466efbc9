"""A rebuild gives guests that are down the size of their leases, as a rollback may have broken off.

Proxmox gives a guest the memory and cores of its snapshot, and only then are those of now written.
"""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.support import snapshots as support
from tests.support.installation import World, running, settings

from pve402 import bootstrap
from pve402.domain import lease
from pve402.ops import rebuild

THEN = {"cores": 4, "memory": 128}


async def rebuilt(url: str, world: World, *, apply: bool = True) -> tuple[int, str]:
    """What a rebuild answers and prints."""
    text = io.StringIO()
    parts = bootstrap.build(settings(url, *world))
    code = await rebuild.Rebuild(apply=apply).run(parts, Console(file=text, width=300))
    await parts.close()
    return code, text.getvalue()


async def lost_lease(tmp_path: Path, world: World, *, stopped: bool, **then: Any) -> lease.Lease:
    """A lease whose database is lost, and whose guest has other options than it says."""
    async with running(f"sqlite:///{tmp_path}/lost.sqlite3", *world) as lost:
        row = (await lost.lease(minutes=60)).lease
        await (lost.leases.stop(row) if stopped else lost.settled_down())
        support.edit(lost, row.vmid, **then)
    await world[0].publish()
    return row


def size_of(world: World, row: lease.Lease) -> tuple[int, int]:
    """The cores and memory of a guest on Proxmox."""
    config = world[0].world.guests[row.vmid].config
    return int(config.text("cores")), int(config.text("memory"))


async def test_a_stopped_guest_has_the_size_of_its_lease_before_it_starts(
    tmp_path: Path, world: World
) -> None:
    row = await lost_lease(tmp_path, world, stopped=True, **THEN)
    url = f"sqlite:///{tmp_path}/new.sqlite3"

    shown = await rebuilt(url, world, apply=False)
    untouched = size_of(world, row)
    written = await rebuilt(url, world)

    assert "4 cores, 128 MB" in shown[1]
    assert (shown[0], untouched) == (0, (4, 128))
    assert (written[0], size_of(world, row)) == (0, (row.size.cores, row.size.memory_mb))
    async with running(url, *world) as again:
        await again.leases.start(await again.leases.find(row.lease_id))
        assert again.runs(row.vmid)


async def test_a_locked_guest_is_left_out_until_it_is_unlocked(
    tmp_path: Path, world: World
) -> None:
    row = await lost_lease(tmp_path, world, stopped=True, lock="rollback", **THEN)
    url = f"sqlite:///{tmp_path}/new.sqlite3"

    code, text = await rebuilt(url, world)
    leases_then = await leases_in(url, world)
    world[0].world.guests[row.vmid].config.options.pop("lock")  # as `pct unlock` does
    again, _ = await rebuilt(url, world)

    assert (code, leases_then) == (1, [])
    assert f"{row.vmid}: its size could not be set" in text
    assert (again, size_of(world, row)) == (0, (row.size.cores, row.size.memory_mb))
    assert await leases_in(url, world) == [row.lease_id]


@pytest.mark.parametrize("stopped", [False, True])
async def test_no_other_guest_is_changed(tmp_path: Path, world: World, stopped: bool) -> None:
    row = await lost_lease(tmp_path, world, stopped=stopped, **({} if stopped else THEN))
    config = world[0].world.guests[row.vmid].config
    before = dict(config.options)

    code, _ = await rebuilt(f"sqlite:///{tmp_path}/new.sqlite3", world)

    assert (code, dict(config.options)) == (0, before)


async def leases_in(url: str, world: World) -> list[str]:
    """The leases of a database."""
    async with running(url, *world) as shop:
        return [row.lease_id for row in await shop.leases_now()]
