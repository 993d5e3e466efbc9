"""After a change of size that failed or was cut short, nobody lives on it or is locked out."""

from __future__ import annotations

import dataclasses

import pytest
from tests.integration.leases.test_size_changes import GROW, LARGER, RESIZE, shop
from tests.support import size_changes as support
from tests.support.installation import Installation

from pve402.domain import errors, size_changes

__all__ = ["shop"]


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


async def test_a_change_that_failed_may_be_tried_again_later(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    shop.fail_call(RESIZE)
    with pytest.raises(size_changes.ChangeFailed):
        await support.change(shop, row, GROW)
    await shop.settled_down()

    shop.pass_time(600)
    await support.change(shop, row, GROW)

    assert (await support.standing(shop)).size == LARGER
