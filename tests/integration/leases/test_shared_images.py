"""Prepared images on a storage that several nodes share: one of them serves all of these nodes."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.support import images as support
from tests.support.installation import TEMPLATE, Installation, World, running, simulated_proxmox

from pve402.domain import lease, order
from pve402.leases import machine
from pve402.leases.images import image_keeper
from pve402.ops import leases
from pve402.ops.checks import images as checks
from pve402.storage import drain_rows, tables
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.options import StorageOptions

WISH: dict[str, Any] = {"sku": support.SKU, "template": "small"}
MISSING = "Configuration file 'nodes/two/lxc/1.conf' does not exist"
LARGE = lease.Size(cores=2, memory_mb=1024, disk_gb=4)
CLONING = [  # what is done on one node alone has the same tests in test_image_crashes.py
    *(r"POST .*/clone$ 1", r"GET .*/tasks/.*vzclone.* 1"),
    *(r"GET .*/two/lxc/\d+/status/current$ 1", r"PUT .*/config$ 1"),
]


@pytest.fixture
async def shared_world(
    chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> AsyncIterator[World]:
    """Two nodes with one storage."""
    disks = StorageOptions(type="rbd", snapshots=True, shared=True)
    async with simulated_proxmox("one", "two", storage=disks) as cluster:
        yield cluster, chain, facilitator


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where the rows are."""
    return f"sqlite:///{tmp_path}/db.sqlite3"


@pytest.fixture
async def shop(tmp_path: Path, url: str, shared_world: World) -> AsyncIterator[Installation]:
    """A running installation whose image is prepared on the node `one`."""
    async with running(url, *shared_world, pve402_catalogue=support.catalogue(tmp_path)) as made:
        await support.prepared(made)
        yield made


async def new_guests_go_to(shop: Installation, node: str) -> None:
    """Have Proxmox place nothing more on the other node, which stays up."""
    shop.proxmox.world.maintenance = {"one", "two"} - {node}
    await shop.parts.view.fresh(0.0)


async def image_of(shop: Installation) -> lease.Lease:
    """The only image."""
    (image,) = await support.images(shop)
    return image


async def test_one_image_serves_all_nodes(shop: Installation) -> None:
    image, calls = await image_of(shop), shop.record_proxmox_calls()
    started, turns = support.starts(shop), list[str]()
    honest = shop.parts.machines.turn_to_write

    def counted(node: str) -> Any:
        turns.append(node)
        return honest(node)

    shop.parts.machines.turn_to_write = counted  # type: ignore[method-assign]
    await new_guests_go_to(shop, "two")
    there = (await shop.lease(**WISH, size=LARGE)).lease
    await new_guests_go_to(shop, "one")
    here = (await shop.lease(**WISH)).lease

    assert (image.node, here.node, there.node) == ("one", "one", "two")
    assert here.base == there.base == image.lease_id
    assert shop.proxmox.world.guests[there.vmid].node == "two"
    asked = [call for call in calls if call.startswith("POST") and "/lxc" in call]
    assert [call for call in asked if not call.endswith("/start")] == [
        f"POST /nodes/one/lxc/{image.vmid}/clone"
    ] * 2
    assert turns == ["one", "two", "one", "one"]  # to clone, then to grow the disk
    support.check_starts(await shop.leases_now(), started)
    assert await support.unaccounted(shop) == []


async def test_the_storage_may_be_known_from_the_nodes_alone(shop: Installation) -> None:
    """A token without Datastore.Audit sees no storage in the cluster's list."""
    honest = shop.parts.nodes.cluster_resources

    async def without_storages() -> Any:
        return dataclasses.replace(await honest(), storages=())

    shop.parts.nodes.cluster_resources = without_storages  # type: ignore[method-assign]
    await new_guests_go_to(shop, "two")
    await shop.parts.view.rooms()
    await support.prepared(shop, 1)

    assert (await shop.lease(**WISH)).lease.base == (await image_of(shop)).lease_id


async def test_a_node_that_is_down_is_replaced_and_the_older_image_goes_later(
    shop: Installation,
) -> None:
    parts, now = shop.parts, [0.0]
    keeper = image_keeper.ImageKeeper(
        parts.db, parts.view, parts.lease_options, parts.on_sale, clock=lambda: now[0]
    )
    parts.image_keeper = keeper
    old = await image_of(shop)

    shop.proxmox.world.offline = {"one"}
    await parts.view.fresh(0.0)
    during = await support.prepared(shop, 2)
    row = (await shop.lease(**WISH)).lease
    shop.proxmox.world.offline = set()
    await parts.view.fresh(0.0)
    back = await support.prepared(shop, 2)
    now[0] = image_keeper.SURPLUS_SECONDS
    (left,) = await support.prepared(shop, 1)

    assert [image.node for image in during] == ["one", "two"]
    assert row.base == during[1].lease_id
    assert [image.lease_id for image in back] == [image.lease_id for image in during]
    assert left.lease_id != old.lease_id
    assert await support.unaccounted(shop) == []


async def test_no_image_is_made_and_retired_in_turn_for_other_sizes(
    tmp_path: Path, url: str, shared_world: World
) -> None:
    """The node `one` alone has the sku with the smallest disks, as long as it is up."""
    sku = support.SHIPPED.partition(f"[sku.{support.SKU}]")[2]
    smaller = f'[sku.smaller]{sku}\nimages = ["small"]\nnodes = ["one"]\n'
    file = support.catalogue(tmp_path)
    larger = file.read_text().replace("disk_gb = { min = 1", "disk_gb = { min = 2")
    file.write_text(larger + smaller)
    now = [0.0]
    async with running(url, *shared_world, pve402_catalogue=file) as shop:
        parts, seen = shop.parts, list[list[tuple[str, int]]]()
        parts.image_keeper = image_keeper.ImageKeeper(
            parts.db, parts.view, parts.lease_options, parts.on_sale, clock=lambda: now[0]
        )
        for away, count in ((set[str](), 1), ({"one"}, 2), (set[str](), 2)):
            shop.proxmox.world.offline = away
            await parts.view.fresh(0.0)
            images = await support.prepared(shop, count)
            seen.append([(image.node, image.size.disk_gb) for image in images])
        now[0] = image_keeper.SURPLUS_SECONDS
        (left,) = await support.prepared(shop, 1)

    assert seen == [[("one", 1)], [("one", 1), ("two", 2)], [("one", 1), ("two", 2)]]
    assert (left.node, left.size.disk_gb) == ("one", 1)


async def test_an_image_of_a_drained_node_stays_while_copies_stand_elsewhere(
    shop: Installation,
) -> None:
    old = await image_of(shop)
    await new_guests_go_to(shop, "two")
    row = (await shop.lease(**WISH)).lease
    async with shop.parts.db.begin() as tx:
        await drain_rows.put(shop.parts.db, tx, "one")

    await shop.parts.image_keeper.run_once()
    images = await support.prepared(shop, 2)
    later = (await shop.lease(**WISH)).lease
    await shop.leases.end(await shop.leases.find(row.lease_id))
    await shop.settled_down()
    (new,) = await support.prepared(shop, 1)

    assert [(image.node, image.end_reason) for image in images] == [
        ("one", image_keeper.REPLACED),
        ("two", None),
    ]
    assert (row.base, later.base) == (old.lease_id, new.lease_id)


async def test_another_file_makes_one_new_image_for_all_nodes(shop: Installation) -> None:
    await new_guests_go_to(shop, "two")
    row = (await shop.lease(**WISH)).lease
    support.touch(shop, TEMPLATE)
    await shop.parts.nodes_check.look()

    images = await support.prepared(shop, 2)

    assert [image.end_reason for image in images] == [image_keeper.REPLACED, None]
    assert images[0].lease_id == row.base


async def test_where_proxmox_refuses_the_target_the_template_is_unpacked(
    shop: Installation,
) -> None:
    (storage,) = shop.proxmox.world.storages
    storage.options = dataclasses.replace(storage.options, shared=False)
    shop.proxmox.world.maintenance = {"one"}
    shop.parts.view.is_shared = lambda *_: True  # type: ignore[method-assign]
    await shop.parts.view.fresh(0.0)

    row = (await shop.lease(**WISH)).lease

    assert (row.node, row.base) == ("two", None)
    assert await support.unaccounted(shop) == []


async def test_operators_see_what_an_image_serves(shop: Installation) -> None:
    found = await checks.prepared(shop.parts)
    await new_guests_go_to(shop, "two")
    row = (await shop.lease(**WISH)).lease
    screen = StringIO()
    await leases.show(shop.parts, Console(file=screen, width=200))

    assert "one image serves all nodes" in found[0].detail
    assert row.lease_id in screen.getvalue()


@pytest.mark.parametrize(
    ("point", "when"), [*((point, "after") for point in CLONING), (CLONING[0], "before")]
)
async def test_cloning_to_another_node_survives_a_crash(
    tmp_path: Path, url: str, shared_world: World, point: str, when: str
) -> None:
    file = support.catalogue(tmp_path)
    async with running(url, *shared_world, pve402_catalogue=file) as first:
        await support.prepared(first)
        await new_guests_go_to(first, "two")
        started = support.starts(first)
        assert await support.die_at(first, point, when, first.lease(**WISH, size=LARGE))

    async with running(url, *shared_world, pve402_catalogue=file) as second:
        started += (later := support.starts(second))
        await support.come_round(second)

        (bought,) = await second.orders_now()
        rows = await second.leases_now()
        (row,) = [one for one in rows if one.lease_id == bought.lease_id]
        support.check_starts(rows, [*started, *later])
        assert bought.status is order.OrderStatus.SETTLED
        assert (row.node, second.proxmox.world.guests[row.vmid].node) == ("two", "two")
        assert second.runs(row.vmid)
        assert await support.unaccounted(second) == []


async def left_on_its_images_node(first: Installation) -> lease.Lease:
    """Die when a clone is asked for, whose task does not get as far as moving it."""
    await support.prepared(first)
    await new_guests_go_to(first, "two")
    assert await support.die_at(first, CLONING[0], "after", first.lease(**WISH))
    (row,) = [one for one in await first.leases_now() if not one.is_image]
    first.proxmox.world.guests[row.vmid].node = "one"
    return row


async def test_a_clone_that_never_moved_is_finished_where_it_is(
    tmp_path: Path, url: str, shared_world: World
) -> None:
    file = support.catalogue(tmp_path)
    async with running(url, *shared_world, pve402_catalogue=file) as first:
        left = await left_on_its_images_node(first)

    async with running(url, *shared_world, pve402_catalogue=file) as second:
        await support.come_round(second)

        row = await second.leases.find(left.lease_id)
        assert (row.status, row.node, row.vmid) == (lease.LeaseStatus.ACTIVE, "one", left.vmid)
        assert second.runs(row.vmid)
        assert await support.unaccounted(second) == []


async def test_a_clone_that_never_moved_is_destroyed_with_its_order(
    tmp_path: Path, url: str, shared_world: World
) -> None:
    file = support.catalogue(tmp_path)
    async with running(url, *shared_world, pve402_catalogue=file) as first:
        left = await left_on_its_images_node(first)
        async with first.parts.db.begin() as tx:
            long_ago = first.parts.db.now(-300)
            await tx.execute(tables.orders.update().values(created_at=long_ago))

    async with running(url, *shared_world, pve402_catalogue=file) as second:
        await support.come_round(second)

        assert (await image_of(second)).vmid in second.proxmox.world.guests
        assert left.vmid not in second.proxmox.world.guests
        assert second.earned == 0


async def test_a_clone_that_its_node_does_not_know_yet_is_not_taken_for_gone(
    shop: Installation,
) -> None:
    await new_guests_go_to(shop, "two")
    row = (await shop.lease(**WISH)).lease
    shop.fail_call(r"GET .*/two/.*/status/current$", text=MISSING, times=2)

    assert await shop.parts.machines.look(row) is machine.Sight.IN_MAKING
    assert await shop.parts.machines.look(row) is machine.Sight.RUNNING


async def test_a_clone_in_the_making_elsewhere_is_waited_for(shop: Installation) -> None:
    world, goes_on = shop.proxmox.world, asyncio.Event()
    honest = world.runtime.copy

    async def held(*vmids: int, snapshot: str | None) -> None:
        await goes_on.wait()
        await honest(*vmids, snapshot=snapshot)

    world.runtime.copy = held  # type: ignore[method-assign]
    await new_guests_go_to(shop, "two")
    leasing = asyncio.create_task(shop.lease(**WISH))
    row = await shop.until(lambda row: not row.is_image and row.upid is not None)

    locked = await shop.parts.machines.look(row)
    del world.guests[row.vmid].config.options["lock"]
    unlocked = await shop.parts.machines.look(row)
    world.guests[row.vmid].config.options["lock"] = "create"
    finding = shop.parts.machines.find_task

    async def found(*asked: Any) -> Any:
        task = await finding(*asked)
        goes_on.set()
        return task

    shop.parts.machines.find_task = found  # type: ignore[method-assign]
    is_gone = await shop.parts.machines.ensure_gone(row)

    assert locked is unlocked is machine.Sight.IN_MAKING
    assert not is_gone
    assert (await leasing).lease.node == "two"
