"""What a listing says of a snapshot that could not be taken, deleted or rolled back to."""

import asyncio
from typing import Any

import pytest
from tests.support import snapshots as support
from tests.support.installation import Installation
from tests.support.snapshots import shop, snapshot_proxmox, snapshot_world

from pve402.api.messages import snapshots as messages
from pve402.domain import errors, lease, snapshots
from pve402.proxmox.snapshots import SeenSnapshot
from pve402_devnet.pve.faults import TaskFault

__all__ = ["shop", "snapshot_proxmox", "snapshot_world"]

NO_ROOM = "lvcreate: no room in the thin pool of vg-secret"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("CT is locked (backup)", "container_locked"),
        ("snapshot feature is not available", "snapshots_not_possible"),
        (NO_ROOM, "snapshot_failed"),
    ],
)
async def test_why_one_could_not_be_taken_is_listed(
    shop: Installation, text: str, code: str
) -> None:
    row = (await shop.lease()).lease
    refuse(shop, "vzsnapshot", text)

    with pytest.raises(errors.Pve402Error) as refusal:
        await shop.leases.snapshots.take(row, "before")

    assert refusal.value.code == code
    assert await listed(shop, row) == [("before", "failed", code)]


async def test_what_was_made_by_half_is_removed_and_listed_as_failed(shop: Installation) -> None:
    row = (await shop.lease()).lease
    shop.proxmox.world.faults.order_for_task(
        TaskFault(type="vzsnapshot", text=NO_ROOM, executed=True)
    )
    of_proxmox = shop.parts.snapshot_calls.on_proxmox
    honest = of_proxmox.list

    async def half_made(ref: Any) -> tuple[SeenSnapshot, ...]:
        return tuple(SeenSnapshot(name=one.name, is_whole=False) for one in await honest(ref))

    of_proxmox.list = half_made  # type: ignore[method-assign]
    with pytest.raises(snapshots.SnapshotFailed):
        await shop.leases.snapshots.take(row, "before")

    assert support.on_proxmox(shop, row.vmid) == {}
    assert await listed(shop, row) == [("before", "failed", "snapshot_failed")]


async def test_why_one_is_not_deleted_yet_is_listed(shop: Installation) -> None:
    row = (await shop.lease()).lease
    await shop.leases.snapshots.take(row, "before")
    refuse(shop, "vzdelsnapshot", "CT is locked (backup)")
    row = await shop.leases.find(row.lease_id)

    deleting = asyncio.create_task(shop.leases.snapshots.delete(row, "before"))
    await support.postponed(shop)
    meanwhile = await listed(shop, row)
    shop.pass_time(11)
    left = await deleting

    assert meanwhile == [("before", "deleting", "snapshot_not_deleted")]
    assert left.snapshots == []


async def test_why_a_rollback_failed_is_listed_until_one_succeeds(shop: Installation) -> None:
    row = (await shop.lease()).lease
    await shop.leases.snapshots.take(row, "before")
    refuse(shop, "vzrollback", "can't rollback, 'x' is not most recent snapshot on 'y'")

    with pytest.raises(snapshots.SnapshotFailed):
        await shop.leases.snapshots.roll_back(await shop.leases.find(row.lease_id), "before")
    failed = await listed(shop, row)
    await shop.leases.snapshots.roll_back(await shop.leases.find(row.lease_id), "before")

    assert failed == [("before", "there", "snapshot_failed")]
    assert await listed(shop, row) == [("before", "there", None)]


def refuse(shop: Installation, kind: str, text: str) -> None:
    """Have the next task of a kind fail with this text."""
    shop.proxmox.world.faults.order_for_task(TaskFault(type=kind, text=text))


async def listed(shop: Installation, row: lease.Lease) -> list[tuple[str, str, str | None]]:
    """What the API lists: name, state and problem."""
    row = await shop.leases.find(row.lease_id)
    answer = messages.answer(await shop.leases.snapshots.of_lease(row))
    return [(one.name, one.state, one.problem) for one in answer.snapshots]
