"""A process that dies at any call about images and clones: another brings all to an end.

No guest is ever started with another lease's mark, card or size, and every guest, template and disk
on Proxmox has its row.
"""

from pathlib import Path

import pytest
from tests.support import images as support
from tests.support.images import image_proxmox, image_world
from tests.support.installation import TEMPLATE, Installation, World, running

from pve402.domain import lease, order
from pve402.storage import tables

__all__ = ["image_proxmox", "image_world"]

WHEN = ["before", "after"]
PREPARING = [
    *(r"POST .*/lxc$ 1", r"GET .*/tasks/.*vzcreate.* 1", r"GET .*/status/current$ 1"),
    *(r"POST .*/template$ 1", r"GET .*/config$ 2", r"GET .*/feature$ 1"),
]
REPLACING = [
    *(r"GET .*/status/current$ 1", r"DELETE .*/lxc/ 1", r"GET .*/tasks/.*vzdestroy.* 1"),
    r"POST .*/lxc$ 1",
]
CLONING = [
    *(r"GET .*/config$ 1", r"POST .*/clone$ 1", r"GET .*/tasks/.*vzclone.* 1"),
    *(rf"GET .*/status/current$ {number}" for number in (1, 2, 3)),
    *(rf"GET .*/config$ {number}" for number in (2, 3, 4, 5)),
    *(r"PUT .*/config$ 1", r"PUT .*/resize$ 1", r"GET .*/tasks/.*resize.* 1"),
    r"POST .*/status/start$ 1",
]
WISH = {"sku": support.SKU, "template": "small"}
LARGE = lease.Size(cores=2, memory_mb=1024, disk_gb=4)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", PREPARING)
async def test_preparing_survives_a_crash(
    tmp_path: Path, image_world: World, point: str, when: str
) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as first:
        assert await support.die_at(first, point, when, support.prepared(first))

    async with running(url, *image_world, pve402_catalogue=file) as second:
        started = support.starts(second)
        await support.come_round(second)
        second.pass_time(700)  # what failed is tried again
        (image,) = await support.prepared(second)

        assert support.options_of(second, image.vmid)["template"] == 1
        assert started == []
        assert await support.unaccounted(second) == []


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", REPLACING)
async def test_replacing_survives_a_crash(
    tmp_path: Path, image_world: World, point: str, when: str
) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as first:
        (old,) = await support.prepared(first)
        support.touch(first, TEMPLATE)
        await first.parts.nodes_check.look()
        assert await support.die_at(first, point, when, support.prepared(first))

    async with running(url, *image_world, pve402_catalogue=file) as second:
        await support.come_round(second)
        second.pass_time(700)
        (image,) = await support.prepared(second)

        assert image.lease_id != old.lease_id
        assert await support.unaccounted(second) == []


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", CLONING)
async def test_cloning_survives_a_crash(
    tmp_path: Path, image_world: World, point: str, when: str
) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as first:
        await support.prepared(first)
        started = support.starts(first)
        assert await support.die_at(first, point, when, first.lease(**WISH, size=LARGE))

    async with running(url, *image_world, pve402_catalogue=file) as second:
        started_later = support.starts(second)
        await support.come_round(second)

        (bought,) = await second.orders_now()
        support.check_starts(await second.leases_now(), [*started, *started_later])
        assert await support.unaccounted(second) == []
        await check_outcome(second, bought)


async def check_outcome(shop: Installation, bought: order.Order) -> None:
    """What is paid for runs with its tenant's secrets; what is not leaves nothing behind."""
    (row,) = [one for one in await shop.leases_now() if one.lease_id == bought.lease_id]
    if bought.status is order.OrderStatus.SETTLED:
        assert row.status is lease.LeaseStatus.ACTIVE
        assert shop.runs(row.vmid)
        assert row.base is None or {told.lease_id for told, _ in shop.rekey.told} == {row.lease_id}
    else:
        assert bought.status is order.OrderStatus.REFUSED
        assert row.status is lease.LeaseStatus.FAILED
        assert shop.earned == 0


@pytest.mark.parametrize(
    "point",
    [
        *(r"POST .*/clone$ 1", r"GET .*/tasks/.*vzclone.* 1"),
        *(r"PUT .*/config$ 1", r"PUT .*/resize$ 1", r"POST .*/status/start$ 1"),
    ],
)
async def test_a_clone_whose_order_ran_out_of_time_is_destroyed(
    tmp_path: Path, image_world: World, point: str
) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as first:
        (image,) = await support.prepared(first)
        assert await support.die_at(first, point, "after", first.lease(**WISH, size=LARGE))
        async with first.parts.db.begin() as tx:
            long_ago = first.parts.db.now(-300)
            await tx.execute(tables.orders.update().values(created_at=long_ago))

    async with running(url, *image_world, pve402_catalogue=file) as second:
        await support.come_round(second)

        (bought,) = await second.orders_now()
        assert bought.status is order.OrderStatus.REFUSED
        assert second.earned == 0
        assert second.proxmox.world.guests.keys() == {image.vmid}
        assert await support.unaccounted(second) == []
