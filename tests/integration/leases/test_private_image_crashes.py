"""A process that dies at any call about private images: another brings all to an end.

Nobody pays for an image or a container that is not there, nothing runs with another one's mark,
card or size, and everything on Proxmox has its row.
"""

from pathlib import Path

import pytest
from tests.support import forks
from tests.support import images as support
from tests.support import private_images as private
from tests.support.images import image_proxmox, image_world
from tests.support.installation import World, running

from pve402.domain import lease, order

__all__ = ["image_proxmox", "image_world"]

WHEN = ["before", "after"]
SAVING = [
    *(r"GET .*/config$ 1", r"POST .*/clone$ 1", r"GET .*/tasks/.*vzclone.* 1"),
    *(r"PUT .*/config$ 1", r"GET .*/config$ 4", r"POST .*/template$ 1", r"GET .*/config$ 6"),
]
USING = [
    *(r"GET .*/config$ 1", r"POST .*/clone$ 1", r"GET .*/tasks/.*vzclone.* 1"),
    *(r"PUT .*/config$ 1", r"PUT .*/resize$ 1", r"POST .*/status/start$ 1"),
    r"PUT .*/config$ 2",  # its card is switched on
]
LARGE = lease.Size(cores=2, memory_mb=512, disk_gb=3)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", SAVING)
async def test_saving_survives_a_crash(
    tmp_path: Path, image_world: World, point: str, when: str
) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", private.catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as first:
        key = first.tenant()
        row = await private.source(first, key)
        paid_before = first.earned
        assert await support.die_at(first, point, when, private.save(first, key, row))

    async with running(url, *image_world, pve402_catalogue=file) as second:
        started = support.starts(second)
        await support.come_round(second)

        (image,) = await private.images(second)
        bought = (await second.orders_now())[-1]
        assert started == []
        assert await support.unaccounted(second) == []
        paid = second.earned - paid_before
        if bought.status is order.OrderStatus.SETTLED:
            assert (image.status, paid) == (lease.LeaseStatus.ACTIVE, 60 * 2 * 40)
            options = support.options_of(second, image.vmid)
            assert options["template"] == 1
            assert "net0" not in options
        else:
            assert (bought.status, paid) == (order.OrderStatus.REFUSED, 0)
            assert image.status is lease.LeaseStatus.FAILED


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", USING)
async def test_leasing_from_an_image_survives_a_crash(
    tmp_path: Path, image_world: World, point: str, when: str
) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", private.catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as first:
        key = first.tenant()
        image = (await private.save(first, key, await private.source(first, key))).lease
        started, paid_before = support.starts(first), first.earned
        wish = private.wish_from(image, size=LARGE)
        paying = first.buy(key, wish)
        assert await support.die_at(first, point, when, first.leases.create(wish, paying))

    async with running(url, *image_world, pve402_catalogue=file) as second:
        started_later = support.starts(second)
        await support.come_round(second)

        bought = (await second.orders_now())[-1]
        (row,) = [one for one in await second.leases_now() if one.lease_id == bought.lease_id]
        support.check_starts(await second.leases_now(), [*started, *started_later])
        assert await support.unaccounted(second) == []
        if bought.status is order.OrderStatus.SETTLED:
            assert (row.status, row.base) == (lease.LeaseStatus.ACTIVE, image.lease_id)
            assert row.lease_id in {told.lease_id for told, _ in second.rekey.told}
            assert forks.is_connected(second, row)
        else:
            assert bought.status is order.OrderStatus.REFUSED
            assert (row.status, second.earned) == (lease.LeaseStatus.FAILED, paid_before)
