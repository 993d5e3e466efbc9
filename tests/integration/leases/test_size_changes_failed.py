"""After a change of size that failed or was cut short, nobody lives on it or is locked out."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from pathlib import Path

import pytest
from tests.integration.leases.test_size_changes import GROW, LARGER, RESIZE, SMALL, shop
from tests.support import size_changes as support
from tests.support.installation import Installation, World, running
from tests.support.snapshots import snapshot_proxmox, snapshot_world

from pve402.api.messages import size_changes as answers
from pve402.domain import errors, lease, size_changes, snapshots
from pve402.domain.size_changes import Wish
from pve402.leases import moves
from pve402_devnet.pve.faults import FaultKind

__all__ = ["shop", "snapshot_proxmox", "snapshot_world"]


async def test_changes_that_fail_give_nobody_more_again_and_again(shop: Installation) -> None:
    """Its cores are there for a moment, and are not paid for."""
    row = (await shop.lease(minutes=600)).lease
    shop.proxmox.world.faults.refused_live.add("memory")
    with pytest.raises(size_changes.NeedsRestart):
        await support.change(shop, row, GROW)
    await shop.settled_down()

    with pytest.raises(errors.LeaseBusy, match="try again in 10 minutes") as refused:
        await support.change(shop, row, GROW)

    assert refused.value.retry_after_seconds == pytest.approx(600, abs=30)
    await support.change(shop, row, dataclasses.replace(GROW, may_restart=True))
    assert (await support.standing(shop)).size == LARGER


async def test_changes_that_fail_hold_no_capacity_again_and_again(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    support.lock(shop, row.vmid)
    changing = await support.begun(shop, row, GROW)
    for _ in range(4):
        await shop.settled_down()
        shop.pass_time(45)
    await shop.settled_down()
    with pytest.raises(snapshots.ContainerLocked):
        await changing

    with pytest.raises(errors.LeaseBusy, match="has just failed"):
        await support.change(shop, row, GROW)


async def test_a_change_that_failed_may_be_tried_again_later(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    shop.fail_call(RESIZE)
    with pytest.raises(size_changes.ChangeFailed):
        await support.change(shop, row, GROW)
    await shop.settled_down()

    shop.pass_time(600)
    await support.change(shop, row, GROW)

    assert (await support.standing(shop)).size == LARGER


@pytest.mark.parametrize(
    ("pattern", "wish"), [(r"PUT .*/config$", Wish(cores=2)), (RESIZE, Wish(disk_gb=10))]
)
async def test_nobody_pays_more_before_proxmox_got_the_call(
    shop: Installation, pattern: str, wish: Wish
) -> None:
    row = (await shop.lease(minutes=600)).lease
    shop.fail_call(pattern, FaultKind.UNREACHABLE)
    changing = await support.begun(shop, row, wish)
    await shop.settled_down()
    assert (await support.latest(shop)).began_at is None

    shop.pass_time(60)
    await changing

    now, made = await support.standing(shop), await support.latest(shop)
    assert (made.state, now.size) == (size_changes.State.DONE, made.after)
    waited = (now.metered_at or made.since) - made.since
    less = timedelta(seconds=support.left(row)) - waited
    assert support.left(now) == pytest.approx(
        less.total_seconds() * made.burn_before / made.burn_after, abs=30
    )


async def test_the_size_that_a_lease_has_is_no_failure_after_one(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    shop.fail_call(RESIZE)
    with pytest.raises(size_changes.ChangeFailed):
        await support.change(shop, row, GROW)
    await shop.settled_down()
    shop.pass_time(600)

    got = await support.change(shop, row, Wish(cores=SMALL.cores))

    shown = answers.answer(got)
    assert (shown.state, shown.problem) == ("unchanged", None)
    assert shown.before == shown.after


async def test_a_lease_that_is_stopped_during_a_change_can_be_renewed(shop: Installation) -> None:
    """Its guest seemed to have vanished, or a replica that knows no changes ended it."""
    tenant = shop.tenant()
    row = (await shop.lease(tenant, minutes=600)).lease
    support.lock(shop, row.vmid)
    await support.begun(shop, row, Wish(cores=2))
    await shop.parts.lease_worker.stop()
    async with shop.parts.db.begin() as tx:
        await moves.end_vanished(shop.parts.db, tx, await support.standing(shop))
    shop.proxmox.world.guests[row.vmid].config.options.pop("lock")

    await shop.parts.lease_worker.start()
    await shop.settled_down()

    now = await support.standing(shop)
    assert (now.status, now.size, now.burn) == (lease.LeaseStatus.STOPPED, SMALL, row.burn)
    await shop.leases.renew(now, 60, shop.renewal(tenant, now, 60))
    assert (await support.standing(shop)).status is lease.LeaseStatus.ACTIVE


async def test_no_fee_is_charged_for_a_snapshot_that_a_change_refuses(
    tmp_path: Path, snapshot_world: World
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *snapshot_world, pve402_snapshots=2) as shop:
        row = (await shop.lease(minutes=600)).lease
        await shop.leases.snapshots.take(row, "small")
        async with shop.holding(RESIZE):
            changing = await support.begun(shop, row, GROW)
            now, taking = await support.standing(shop), shop.leases.snapshots

            with pytest.raises(errors.LeaseBusy):
                await taking.check_take(now, "second")
            for refused in (taking.check_change, taking.check_roll_back):
                with pytest.raises(errors.LeaseBusy):
                    await refused(now, "small")

        await changing
