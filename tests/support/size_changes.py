"""Changes of the sizes of leases, and what Proxmox has of them."""

import asyncio
import contextlib
from collections.abc import Coroutine
from types import ModuleType
from typing import Any

import pytest
from tests.support.installation import Installation

from pve402.domain import lease, meter, size_changes
from pve402.leases import moves
from pve402.leases.alterations import size_changes as use_cases
from pve402.proxmox.guests import GuestRef
from pve402.storage import tables

_GIB = 2**30


async def change(
    shop: Installation, row: lease.Lease, wish: size_changes.Wish
) -> use_cases.Outcome:
    """Change the size of a lease as its tenant would now."""
    now = await shop.leases.find(row.lease_id)
    return await shop.leases.size_changes.change(now, wish, by_key=True)


async def begun(
    shop: Installation, row: lease.Lease, wish: size_changes.Wish
) -> "asyncio.Task[use_cases.Outcome]":
    """Begin a change that does not end yet, and wait until its row is there."""
    changing = asyncio.create_task(change(shop, row, wish))
    for _ in range(2000):
        if await shop.rows(tables.size_changes):
            return changing
        await asyncio.sleep(0.005)
    raise TimeoutError("no change began")


def hang_at_write(
    patch: pytest.MonkeyPatch, rows: ModuleType, number: int, when: str
) -> asyncio.Event:
    """Hang for ever at the n-th write of a change; its transaction is never committed."""
    honest, seen, reached = rows.update, 0, asyncio.Event()

    async def counting(*arguments: Any, **named: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == number:
            if when == "after":
                await honest(*arguments, **named)
            reached.set()
            await asyncio.Event().wait()
        return await honest(*arguments, **named)

    patch.setattr(rows, "update", counting)
    return reached


async def until_dead(
    shop: Installation, reached: asyncio.Event, then: Coroutine[Any, Any, Any]
) -> None:
    """Let things go on until a crash point is reached, and die there."""
    asking = asyncio.ensure_future(then)
    await asyncio.wait_for(reached.wait(), 20)
    await shop.die()
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking


async def standing(shop: Installation) -> lease.Lease:
    """The only lease, as its row is now."""
    (row,) = await shop.leases_now()
    return row


async def latest(shop: Installation) -> size_changes.SizeChange:
    """The only change."""
    (found,) = await shop.rows(tables.size_changes)
    return size_changes.SizeChange.from_row(found)


async def suspend(shop: Installation, row: lease.Lease) -> None:
    """Have the operator suspend a lease and hold its time."""
    now = await shop.leases.find(row.lease_id)
    async with shop.parts.db.begin() as tx:
        await moves.suspend(shop.parts.db, tx, now, "abuse", time_held=True)
    await shop.settled_down()


async def resume(shop: Installation, row: lease.Lease) -> None:
    """Have the operator resume it."""
    now = await shop.leases.find(row.lease_id)
    async with shop.parts.db.begin() as tx:
        await moves.resume(shop.parts.db, tx, now)


def ref(row: lease.Lease) -> GuestRef:
    """Name the lease's guest to Proxmox."""
    return GuestRef(node=row.node, vmid=row.vmid)


def options(shop: Installation, vmid: int) -> dict[str, Any]:
    """The options of a guest on Proxmox, but for its description."""
    found = dict(shop.proxmox.world.guests[vmid].config.options)
    found.pop("description", None)
    return found


def lock(shop: Installation, vmid: int) -> None:
    """Have a backup lock a guest."""
    shop.proxmox.world.guests[vmid].config.put("lock", "backup")


def seen_size(shop: Installation, vmid: int) -> lease.Size:
    """The size that a guest has on Proxmox."""
    found = options(shop, vmid)
    volume = shop.proxmox.world.storages.volume(str(found["rootfs"]).split(",")[0])
    assert volume is not None
    disk_gb = volume[1].size_bytes // _GIB
    assert f"size={disk_gb}G" in str(found["rootfs"])
    return lease.Size(cores=int(found["cores"]), memory_mb=int(found["memory"]), disk_gb=disk_gb)


def told_size(shop: Installation, row: lease.Lease) -> lease.Size:
    """The size that the guest's description tells."""
    text = shop.proxmox.world.guests[row.vmid].config.text("description")
    record = shop.parts.machines.read_description(text)
    assert record is not None
    return record.size


def left(row: lease.Lease) -> float:
    """How many seconds a lease had left when its meter was settled last."""
    found = meter.stored(row)
    assert found is not None
    return (found.ends_at - found.metered_at).total_seconds()
