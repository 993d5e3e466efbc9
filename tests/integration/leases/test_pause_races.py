"""What others do to a lease or its guest just while it is paused or woken."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.installation import Installation, World, running
from tests.support.pausing import pausing_catalogue, shop
from tests.support.snapshots import snapshot_proxmox, snapshot_world
from tests.support.waiting import until_somebody_waits

from pve402.domain import errors
from pve402.leases import moves
from pve402.storage import snapshot_rows

__all__ = ["pausing_catalogue", "shop", "snapshot_proxmox", "snapshot_world"]


@pytest.mark.postgres
async def test_a_lease_is_not_woken_while_a_rollback_begins(
    migrated_url: str, snapshot_world: World, pausing_catalogue: Path
) -> None:
    url = migrated_url.replace("postgresql+asyncpg://", "postgresql://")
    changes: dict[str, Any] = {"pve402_snapshots": 3, "pve402_catalogue": pausing_catalogue}
    async with running(url, *snapshot_world, **changes) as shop:
        row = (await shop.lease()).lease
        await shop.leases.snapshots.take(row, "before")
        paused = await shop.leases.pause(await shop.leases.find(row.lease_id))
        db = shop.parts.db

        async with db.begin() as tx:
            await moves.begin_rollback(db, tx, paused)
            (one,) = await snapshot_rows.of_lease(tx, paused.lease_id)
            values = {"state": "rolling_back", "resumes_to": paused.wanted.value}
            await snapshot_rows.update(tx, one, **values)
            waking = asyncio.ensure_future(shop.leases.start(paused))
            await until_somebody_waits(tx)

        with pytest.raises(errors.LeaseBusy):
            await waking
        await shop.settled_down()
        now = await shop.leases.find(row.lease_id)
        assert (now.paused_at, now.wanted) == (paused.paused_at, paused.wanted)


@pytest.mark.parametrize("kind", ["vzstart", "vzreboot"])
async def test_a_guest_that_is_just_being_started_is_not_down(
    shop: Installation, kind: str
) -> None:
    row = (await shop.lease()).lease
    stopped = await shop.leases.stop(row)
    goes_on = asyncio.Event()

    async def start_late(_task: Any) -> None:
        await goes_on.wait()

    shop.proxmox.world.tasks.fork(row.node, kind, str(row.vmid), "root@pam", start_late)
    pausing = asyncio.ensure_future(shop.leases.pause(stopped))
    tried = await shop.until(lambda now: now.paused_at is not None or now.last_error is not None)
    goes_on.set()
    shop.pass_time(60)
    await pausing
    await shop.settled_down()

    assert tried.paused_at is None
    assert (await shop.leases.find(row.lease_id)).paused_at is not None
