"""Forks: one payment, several leases, each with a copy of a guest."""

import asyncio
import dataclasses
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support import forks as support
from tests.support import images as image_support
from tests.support import private_images as private
from tests.support.forks import either_shop, shop
from tests.support.images import image_proxmox, image_world
from tests.support.installation import Installation, World, running, simulated_proxmox

from pve402.domain import errors, forks, lease, order, private_images, size_changes, snapshots
from pve402.storage import lease_rows, tables
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.options import StorageOptions

__all__ = ["either_shop", "image_proxmox", "image_world", "shop"]

OCI = "local:vztmpl/oci-alpine-0123456789ab.tar"


async def save(shop: Installation, row: lease.Lease) -> None:
    """Ask whether a container can be saved as a private image now."""
    asked = private.asked(row)
    async with shop.parts.db.read() as tx:
        await shop.parts.private_images._orders.check(tx, asked, None)


async def test_one_payment_buys_three_copies(either_shop: Installation) -> None:
    shop = either_shop
    source, earned = await support.source_of(shop), shop.earned
    started, asked = image_support.starts(shop), support.wish(source, 3)

    answer = await support.fork(shop, source, 3, password="only-for-copies")

    answers = [answer, *answer.others]
    rows = [await shop.leases.find(one.lease.lease_id) for one in answers]
    assert shop.earned - earned == support.price_of(shop, asked)
    assert sum(one.order.share_atomic for one in answers) == shop.earned - earned
    assert [row.hostname for row in rows] == ["copy", "copy-2", "copy-3"]
    assert {row.status for row in rows} == {lease.LeaseStatus.ACTIVE}
    assert {row.forked_from for row in rows} == {source.lease_id}
    assert len({row.vmid for row in rows} | {source.vmid}) == 4
    assert len({one.access_token for one in answers}) == 3
    assert all(shop.runs(row.vmid) and support.marked(shop, row) for row in rows)
    assert shop.runs(source.vmid)
    told = {row.lease_id: secrets.password for row, secrets in shop.rekey.told}
    assert told == {row.lease_id: "only-for-copies" for row in rows}
    await support.check_all(shop, started)
    assert await support.nothing_held(shop)


async def test_tokens_and_ends_are_of_each_copy(shop: Installation) -> None:
    source = await support.source_of(shop)

    answer = await support.fork(shop, source, 2, minutes=30)

    for one in (answer, *answer.others):
        caller = await shop.parts.access.authenticate(one.access_token or "")
        row = await shop.leases.find(one.lease.lease_id)
        assert caller.lease_id == row.lease_id
        assert row.expires_at is not None
        assert timedelta(minutes=29) < row.expires_at - row.created_at < timedelta(minutes=31)
    first = await shop.leases.find(answer.lease.lease_id)
    await shop.leases.end(first)
    await shop.settled_down()
    (other,) = answer.others
    assert shop.runs(other.lease.vmid)
    assert not shop.runs(first.vmid)


async def test_the_same_request_gets_the_same_leases(shop: Installation) -> None:
    source, key = await support.source_of(shop), shop.tenant()
    named = {"idempotency_key": "k" * 32}

    first = await support.fork(shop, source, 2, key=key, purchase=named)
    again = await support.fork(shop, source, 2, key=key, purchase=named)

    assert [one.lease.lease_id for one in (first, *first.others)] == [
        one.lease.lease_id for one in (again, *again.others)
    ]
    assert [one.access_token for one in (first, *first.others)] == [
        one.access_token for one in (again, *again.others)
    ]
    assert len(await shop.leases_now()) == 3


async def test_a_snapshot_is_copied(shop: Installation) -> None:
    source = await support.source_of(shop)
    await shop.leases.snapshots.take(source, "before")
    source = await shop.leases.find(source.lease_id)
    calls = shop.record_proxmox_calls()

    answer = await support.fork(shop, source, snapshot="before")

    assert not [call for call in calls if call.startswith("POST") and call.endswith("/snapshot")]
    assert support.marked(shop, await shop.leases.find(answer.lease.lease_id))
    assert [one.name for one in (await shop.leases.snapshots.of_lease(source)).snapshots] == [
        "before"
    ]
    assert await shop.rows(tables.forks) == []


async def test_a_copy_of_a_copy_is_like_any_other(shop: Installation) -> None:
    source = await support.source_of(shop)
    first = await support.fork(shop, source)
    middle = await shop.leases.find(first.lease.lease_id)

    answer = await support.fork(shop, middle)

    row = await shop.leases.find(answer.lease.lease_id)
    assert row.forked_from == middle.lease_id
    assert support.marked(shop, row)


@pytest.mark.parametrize("point", [r"POST .*/clone$", r"PUT .*/lxc/\d+/config$", r"status/start$"])
async def test_if_one_copy_cannot_be_made_nothing_is_charged(
    shop: Installation, point: str
) -> None:
    source, earned = await support.source_of(shop), shop.earned
    shop.fail_call(point, times=1)

    with pytest.raises(errors.ProvisioningFailed):
        await support.fork(shop, source, 3)
    for seconds in (0, 20, 100, 20):
        shop.pass_time(seconds)
        await shop.settled_down()

    assert shop.earned == earned
    assert {row.status for row in await shop.orders_now()} == {
        order.OrderStatus.SETTLED,
        order.OrderStatus.REFUSED,
    }
    assert shop.proxmox.world.guests.keys() == {source.vmid}
    assert await image_support.unaccounted(shop) == []
    assert await support.nothing_held(shop)


async def test_a_refused_payment_leaves_no_copy(shop: Installation) -> None:
    source, earned = await support.source_of(shop), shop.earned
    asked = support.wish(source, 3)
    poor = shop.tenant(support.price_of(shop, asked))
    purchase = shop.purchase(poor, support.price_of(shop, asked))

    async with shop.holding(r"POST .*/status/start$"):
        forking = asyncio.ensure_future(shop.parts.forks.create(source, asked, purchase))
        await shop.until(lambda row: row.status is lease.LeaseStatus.STARTING)
        await shop.spend_elsewhere(purchase)
    with pytest.raises(errors.PaymentRefused):
        await forking
    for seconds in (0, 20, 100, 20):
        shop.pass_time(seconds)
        await shop.settled_down()

    assert shop.earned == earned
    assert shop.proxmox.world.guests.keys() == {source.vmid}
    assert await support.nothing_held(shop)


@pytest.mark.parametrize("name", ["copy", "copy-2"])  # the payment's own, and another
async def test_a_guest_that_vanishes_once_it_is_paid_is_copied_again(
    shop: Installation, name: str
) -> None:
    source = await support.source_of(shop)
    started, gone = image_support.starts(shop), support.lose_once_paid(shop, name)
    forking = asyncio.ensure_future(support.fork(shop, source, 3))
    while not forking.done():
        await asyncio.sleep(0.05)
        shop.pass_time(2 if gone else 0)

    answer = await forking
    rows = [await shop.leases.find(one.lease.lease_id) for one in (answer, *answer.others)]
    assert len(gone) == 1
    assert all(shop.runs(row.vmid) and support.marked(shop, row) for row in rows)
    assert {row.base for row in rows} == {source.lease_id}
    known = [(vmid, options) for vmid, options in started if vmid not in gone]
    image_support.check_starts(await shop.leases_now(), known)
    assert await support.nothing_held(shop)


async def test_a_payer_that_is_a_contract_is_refused(shop: Installation) -> None:
    source, earned = await support.source_of(shop), shop.earned
    asked, key = support.wish(source), shop.tenant()
    purchase = shop.purchase(key, support.price_of(shop, asked), by_key=True)
    honest = shop.leases.verify

    async def verify(one: Any) -> Any:
        return dataclasses.replace(await honest(one), payer_has_code=True)

    shop.leases.verify = verify  # type: ignore[method-assign]

    with pytest.raises(errors.PaymentRefused) as refused:
        await shop.parts.forks.create(source, asked, purchase)

    assert refused.value.reason == forks.CONTRACT_PAYER
    assert shop.earned == earned
    assert await shop.rows(tables.forks) == []


async def test_while_a_guest_is_copied_nothing_else_is_done_about_its_disk(
    shop: Installation,
) -> None:
    source = await support.source_of(shop)
    await shop.leases.snapshots.take(source, "before")
    source = await shop.leases.find(source.lease_id)

    async with shop.holding(r"POST .*/clone$"):
        forking = asyncio.ensure_future(support.fork(shop, source, 2))
        await shop.until(lambda row: row.base == source.lease_id)
        source = await shop.leases.find(source.lease_id)
        for refused in (
            shop.leases.snapshots.take(source, "another"),
            shop.leases.snapshots.delete(source, "before"),
            shop.leases.snapshots.roll_back(source, "before"),
            shop.leases.size_changes.change(source, size_changes.Wish(cores=2), by_key=True),
            save(shop, source),
            support.fork(shop, source),
        ):
            with pytest.raises(errors.LeaseBusy):
                await refused
        listing = await shop.leases.snapshots.of_lease(source)
        assert [one.name for one in listing.snapshots] == ["before"]

    await forking
    source = await shop.leases.find(source.lease_id)
    await shop.settled_down()
    await shop.leases.snapshots.take(source, "another")


async def test_a_lease_that_is_ended_meanwhile_is_not_paid_for(shop: Installation) -> None:
    source, earned = await support.source_of(shop), shop.earned

    async with shop.holding(r"POST .*/clone$"):
        forking = asyncio.ensure_future(support.fork(shop, source, 2))
        await shop.until(lambda row: row.base == source.lease_id)
        await shop.leases.end(await shop.leases.find(source.lease_id))
        await shop.until(lambda row: row.status in lease.OVER)
    with pytest.raises(errors.ProvisioningFailed):
        await forking
    for seconds in (0, 20, 100, 20):
        shop.pass_time(seconds)
        await shop.settled_down()

    assert shop.earned == earned
    assert shop.proxmox.world.guests == {}
    assert await support.nothing_held(shop)


async def test_refusals_come_before_money(shop: Installation) -> None:
    source = await support.source_of(shop)
    check = shop.parts.forks.check

    with pytest.raises(snapshots.SnapshotNotFound):
        await check(source, "missing")
    with pytest.raises(snapshots.SnapshotNotFound):
        await check(source, snapshots.TEMPORARY)
    with pytest.raises(forks.ForkEndsTooSoon):
        await check(source.evolve(expires_at=await shop.parts.db.time() + timedelta(minutes=4)))
    with pytest.raises(errors.LeaseNotReady):
        await check(source.evolve(status=lease.LeaseStatus.STOPPED))
    with pytest.raises(forks.ForkUnsupported):
        await check(source.evolve(template=OCI))
    shop.proxmox.world.guests[source.vmid].config.options["lock"] = "backup"
    with pytest.raises(snapshots.ContainerLocked):
        await check(source)
    offer = await shop.parts.forks.offer(source)
    assert (offer.way, offer.needs_stop, offer.at_most) == (None, False, 4)


async def test_a_guest_that_is_being_saved_is_not_copied(shop: Installation) -> None:
    source = await support.source_of(shop)
    saved = private_images.owner_of(source.owner)
    kept = {private_images.SAVED_FROM: source.lease_id}
    image = source.evolve(
        lease_id=lease.new_lease_id(), owner=saved, vmid=source.vmid + 50, metadata=kept
    )
    async with shop.parts.db.begin() as tx:
        reserved = image.evolve(status=lease.LeaseStatus.RESERVED)
        await lease_rows.insert(shop.parts.db, tx, reserved, due=False)

    with pytest.raises(errors.LeaseBusy):
        await shop.parts.forks.check(source)


async def test_a_lease_from_a_private_image_is_copied_like_any_other(
    tmp_path: Path, image_world: World
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    sold: dict[str, Any] = {**support.SETTINGS, "pve402_catalogue": private.catalogue(tmp_path)}
    async with running(url, *image_world, **sold) as shop:
        key = shop.tenant()
        saved = await private.source(shop, key)
        image = (await private.save(shop, key, saved)).lease
        wish = private.wish_from(image)
        source = (await shop.leases.create(wish, shop.buy(key, wish))).lease
        await shop.parts.private_images.end(await shop.parts.private_images.find(image.lease_id))
        await shop.settled_down()
        started = image_support.starts(shop)

        answer = await support.fork(shop, await shop.leases.find(source.lease_id), 2)

        rows = [await shop.leases.find(one.lease.lease_id) for one in (answer, *answer.others)]
        assert {(row.forked_from, row.base) for row in rows} == {(source.lease_id,) * 2}
        assert all(shop.runs(row.vmid) and support.marked(shop, row) for row in rows)
        await support.check_all(shop, started)


@pytest.mark.parametrize(
    ("storage", "way"),
    [
        (
            StorageOptions(type="btrfs", snapshots=True),
            forks.Way(takes_snapshot=True, is_linked=True),
        ),
        (StorageOptions(type="rbd", snapshots=True), forks.Way(takes_snapshot=True)),
        (StorageOptions(type="zfspool", snapshots=True), None),
        (StorageOptions(), None),
    ],
    ids=["btrfs", "rbd", "zfspool", "dir"],
)
async def test_what_a_storage_makes_of_it_is_told(
    tmp_path: Path,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    storage: StorageOptions,
    way: forks.Way | None,
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with (
        simulated_proxmox(storage=storage) as proxmox,
        running(url, proxmox, chain, facilitator, **support.SETTINGS) as shop,
    ):
        source = await support.source_of(shop)

        offer = await shop.parts.forks.offer(source)

        assert (offer.way, offer.needs_stop) == (way, way is None)
        if way is None:
            with pytest.raises(forks.ForkNeedsStop):
                await shop.parts.forks.check(source)
            source = await shop.leases.stop(source)
            await shop.settled_down()
        started = image_support.starts(shop)
        answer = await support.fork(shop, await shop.leases.find(source.lease_id), 2)
        assert len(answer.others) == 1
        await support.check_all(shop, started)
        assert shop.runs(source.vmid) == (way is not None)


async def test_a_stopped_guest_stays_down_while_it_is_copied(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with (
        simulated_proxmox() as proxmox,
        running(url, proxmox, chain, facilitator, **support.SETTINGS) as shop,
    ):
        source = await shop.leases.stop(await support.source_of(shop))
        await shop.settled_down()
        source = await shop.leases.find(source.lease_id)

        async with shop.holding(r"POST .*/clone$"):
            forking = asyncio.ensure_future(support.fork(shop, source))
            await shop.until(lambda row: row.base == source.lease_id)
            with pytest.raises(errors.LeaseBusy):
                await shop.leases.start(source)
        await forking
        await shop.settled_down()

        await shop.leases.start(await shop.leases.find(source.lease_id))
        assert shop.runs(source.vmid)


async def test_limits_count_every_copy(tmp_path: Path, image_world: World) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    limits = {"pve402_wallet_limits": "leases=2", "pve402_max_unsettled_per_wallet": 3}
    async with running(url, *image_world, **support.SETTINGS, **limits) as shop:
        source = await support.source_of(shop)

        with pytest.raises(errors.LimitReached):
            await support.fork(shop, source, 3)
        with pytest.raises(errors.TooManyUnsettled):
            await support.fork(shop, source, 4)
        await support.fork(shop, source, 2)


async def test_without_the_setting_nothing_is_copied(tmp_path: Path, image_world: World) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *image_world) as shop:
        source = await support.source_of(shop)

        with pytest.raises(forks.ForksOff):
            await support.fork(shop, source)
        offer = await shop.parts.forks.offer(source)
        assert (offer.way, offer.at_most) == (None, 0)
