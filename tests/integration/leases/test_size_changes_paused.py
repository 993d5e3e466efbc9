"""A lease is paused or gets another size: one at a time."""

from __future__ import annotations

import pytest
from tests.support import size_changes as support
from tests.support.installation import Installation
from tests.support.pausing import pausing_catalogue, shop

from pve402.domain import errors
from pve402.domain.size_changes import Wish

__all__ = ["pausing_catalogue", "shop"]

GROW = Wish(cores=2, disk_gb=10)


async def test_a_paused_lease_keeps_its_size(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    await shop.leases.pause(row)
    paused = await support.standing(shop)

    with pytest.raises(errors.LeaseNotReady, match="paused"):
        await support.change(shop, row, GROW)

    assert await support.standing(shop) == paused


async def test_a_lease_is_not_paused_before_its_change_is_over(shop: Installation) -> None:
    row = (await shop.lease(minutes=600)).lease
    async with shop.holding(r"PUT .*/resize$"):
        changing = await support.begun(shop, row, GROW)

        for refused in (shop.leases.check_pause, shop.leases.pause):
            with pytest.raises(errors.LeaseBusy):
                await refused(await support.standing(shop))

    await changing
    now = await support.standing(shop)
    assert (now.size.cores, now.is_paused) == (2, False)


async def test_a_lease_that_was_changed_is_paused_and_woken_at_its_new_size(
    shop: Installation,
) -> None:
    row = (await shop.lease(minutes=600)).lease
    await support.change(shop, row, GROW)
    larger = await support.standing(shop)

    await shop.leases.pause(larger)
    await shop.leases.start(await support.standing(shop))

    now = await support.standing(shop)
    assert (now.size, now.burn) == (larger.size, larger.burn)
    assert shop.runs(row.vmid)
