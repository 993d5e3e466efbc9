"""Prepared images over time: what nobody clones any more goes, and what fails does not pile up."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import images as support
from tests.support.images import image_proxmox, image_world
from tests.support.installation import Installation, World, running, simulated_proxmox

from pve402.domain import lease
from pve402.leases import machine
from pve402.storage import creation_rows, drain_rows, tables
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.faults import CallFault, FaultKind
from pve402_devnet.pve.options import StorageOptions

__all__ = ["image_proxmox", "image_world"]

WISH: dict[str, Any] = {"sku": support.SKU, "template": "small"}


@pytest.fixture
async def shop(tmp_path: Path, image_world: World) -> AsyncIterator[Installation]:
    """A running installation that prepares an image."""
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as made:
        yield made


async def test_an_image_of_a_node_that_was_emptied_for_a_while_goes_with_its_last_clone(
    shop: Installation,
) -> None:
    (old,) = await support.prepared(shop)
    row = (await shop.lease(**WISH)).lease
    async with shop.parts.db.begin() as tx:
        await drain_rows.put(shop.parts.db, tx, old.node)
    await shop.parts.image_keeper.run_once()
    async with shop.parts.db.begin() as tx:
        await drain_rows.remove(tx, old.node)
    await support.prepared(shop, 2)

    await shop.leases.end(await shop.leases.find(row.lease_id))
    await shop.settled_down()
    (new,) = await support.prepared(shop)

    assert new.lease_id != old.lease_id
    assert shop.proxmox.world.guests.keys() == {new.vmid}


async def test_an_image_that_another_clone_locks_is_waited_for(shop: Installation) -> None:
    (image,) = await support.prepared(shop)
    options = shop.proxmox.world.guests[image.vmid].config.options
    options["lock"] = "disk"
    honest, seen = shop.parts.guests.config, list[int]()

    async def unlocking(ref: Any, **named: Any) -> Any:
        found = await honest(ref, **named)
        seen.append(ref.vmid)
        options.pop("lock", None)
        return found

    shop.parts.guests.config = unlocking  # type: ignore[method-assign]
    row = (await shop.lease(**WISH)).lease

    assert seen[0] == image.vmid
    assert row.base == image.lease_id


async def test_images_that_cannot_be_removed_do_not_pile_up(
    tmp_path: Path, image_world: World
) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    faults = image_world[0].world.faults
    for pattern in (r"POST .*/template$", r"DELETE .*/lxc/\d+$"):
        text = {"kind": FaultKind.ERROR, "text": "simulated failure"}
        faults.order(CallFault(pattern=pattern, times=1000, **text))

    async with running(url, *image_world, pve402_catalogue=file) as shop:
        for _ in range(3):
            await shop.parts.image_keeper.run_once()
            await shop.settled_down()
            shop.pass_time(700)
        stuck = await support.images(shop)

        assert [row.status for row in stuck] == [lease.LeaseStatus.UNWINDING]
        assert shop.proxmox.world.guests.keys() == {stuck[0].vmid}


async def test_an_image_that_failed_late_is_tried_again_later(
    tmp_path: Path, image_world: World
) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    faults = image_world[0].world.faults
    faults.order(
        CallFault(pattern=r"POST .*/lxc$", kind=FaultKind.ERROR, times=1000, text="no such thing")
    )

    async with running(url, *image_world, pve402_catalogue=file) as shop:
        async with shop.holding(r"POST .*/lxc$"):
            await shop.parts.image_keeper.run_once()
            await shop.until_status(lease.LeaseStatus.RESERVED)
            shop.pass_time(700)
        await shop.settled_down()
        await shop.parts.image_keeper.run_once()
        await shop.settled_down()

        assert len(await shop.leases_now()) == 1


async def test_whether_a_clone_is_being_started_is_not_asked_of_its_image(
    shop: Installation,
) -> None:
    """The node of its image may be gone since the clone moved."""
    (image,) = await support.prepared(shop)
    row = (await shop.lease(**WISH)).lease
    gone = tables.leases.update().where(tables.leases.c.lease_id == image.lease_id)
    async with shop.parts.db.begin() as tx:
        await tx.execute(gone.values(node="gone"))

    assert row.base == image.lease_id
    assert await shop.parts.machines.find_task(row, machine.STARTING) is None


async def test_images_of_a_node_that_is_away_stay(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", support.catalogue(tmp_path)
    disks = StorageOptions(type="btrfs", snapshots=True)
    async with (
        simulated_proxmox("one", "two", storage=disks) as cluster,
        running(url, cluster, chain, facilitator, pve402_catalogue=file) as shop,
    ):
        before = await support.prepared(shop, 2)
        await support.take_away(shop, "two")
        await shop.parts.image_keeper.run_once()

        assert {room.node for room in await shop.parts.view.rooms()} == {"one"}
        assert await support.images(shop) == before


async def test_the_warm_pool_makes_no_way_for_an_image(shop: Installation) -> None:
    async with shop.holding(r"POST .*/lxc$"):
        await shop.parts.image_keeper.run_once()
        await shop.until(lambda row: row.is_image and row.create_sent_at is not None)
        async with shop.parts.db.read() as tx:
            waiting = await creation_rows.count_of_tenants(tx)

    assert waiting == 0


async def test_many_orders_wait_for_one_lock(shop: Installation) -> None:
    (image,) = await support.prepared(shop)
    options = shop.proxmox.world.guests[image.vmid].config.options
    options["lock"] = "disk"
    honest, looks = shop.parts.guests.config, 0

    async def unlocking(ref: Any, **named: Any) -> Any:
        nonlocal looks
        looks += ref.vmid == image.vmid
        if looks == 40:
            options.pop("lock", None)
        return await honest(ref, **named)

    shop.parts.guests.config = unlocking  # type: ignore[method-assign]
    await asyncio.gather(*(shop.lease(**WISH) for _ in range(8)))

    rows = [row for row in await shop.leases_now() if not row.is_image]
    assert {row.base for row in rows} == {image.lease_id}
