"""Private images: saved, kept, used and deleted; nobody else can see, use or guess one."""

from pathlib import Path

import pytest
from tests.support import images as support
from tests.support import private_images as private
from tests.support.images import image_proxmox, image_world
from tests.support.installation import Installation, World, owner_of, running
from tests.support.private_images import shop

from pve402.domain import errors, lease, order, private_images
from pve402.leases import service
from pve402.leases.images import private_images as use_cases

__all__ = ["image_proxmox", "image_world", "shop"]


async def test_an_image_is_a_bare_template_that_its_payer_owns(shop: Installation) -> None:
    key = shop.tenant()
    row = await private.source(shop, key)
    before, started = shop.earned, support.starts(shop)

    answer = await private.save(shop, key, row)

    (image,) = await private.images(shop)
    options = support.options_of(shop, image.vmid)
    assert answer.order.status is order.OrderStatus.SETTLED
    assert answer.access_token is not None
    assert (image.account, image.status) == (owner_of(key), lease.LeaseStatus.ACTIVE)
    assert (image.hostname, options["hostname"], image.size.disk_gb) == ("tools", "tools", 2)
    assert options["template"] == 1
    assert "net0" not in options
    assert row.lease_id not in str(options)
    assert shop.earned - before == 60 * 2 * 40
    assert started == []
    assert await support.unaccounted(shop) == []


async def test_a_lease_from_an_image_is_a_copy_with_everything_of_its_own(
    shop: Installation,
) -> None:
    key = shop.tenant()
    row = await private.source(shop, key)
    image = (await private.save(shop, key, row)).lease
    await shop.leases.end(await shop.leases.find(row.lease_id))
    await shop.settled_down()
    started = support.starts(shop)
    wish = private.wish_from(image, hostname="again", password="only-for-me")

    answer = await shop.leases.create(wish, shop.buy(key, wish))

    made = await shop.leases.find(answer.lease.lease_id)
    options = support.options_of(shop, made.vmid)
    assert (made.status, made.base) == (lease.LeaseStatus.ACTIVE, image.lease_id)
    assert (options["hostname"], options["memory"]) == ("again", 256)
    assert image.lease_id not in str(options)
    assert shop.runs(made.vmid)
    _, secrets = shop.rekey.told[-1]
    assert secrets.password == "only-for-me"
    support.check_starts(await shop.leases_now(), started)
    assert await support.unaccounted(shop) == []


async def test_nobody_else_can_use_an_image(shop: Installation) -> None:
    key, stranger = shop.tenant(), shop.tenant()
    image = (await private.save(shop, key, await private.source(shop, key))).lease
    before = shop.earned

    for wish in (
        private.wish_from(image),
        private.wish_from(image.evolve(lease_id="l" + "0" * 25)),
    ):
        with pytest.raises(errors.UnknownTemplate):
            await shop.leases.create(wish, shop.buy(stranger, wish))

    assert shop.earned == before


async def test_nobody_else_can_see_or_change_an_image(shop: Installation) -> None:
    key, stranger = shop.tenant(), shop.tenant()
    row = await private.source(shop, key)
    image = (await private.save(shop, key, row)).lease
    own = service.Caller(owner=owner_of(key), how="wallet", by_key=True)
    other = service.Caller(owner=owner_of(stranger), how="wallet", by_key=True)
    use = shop.parts.private_images

    assert [one.lease_id for one in await use.list_of(own)] == [image.lease_id]
    assert await use.list_of(other) == []
    with pytest.raises(private_images.ImageNotFound):
        await use.find(image.lease_id, other)
    with pytest.raises(errors.LeaseNotFound):
        await shop.leases.find(image.lease_id, own)
    with pytest.raises(errors.NotAllowed):
        await use.list_of(service.Caller(owner=owner_of(key), lease_id=row.lease_id))
    of_image = service.Caller(owner=owner_of(key), lease_id=image.lease_id)
    assert await shop.leases.list_leases(of_image) == []
    assert await shop.leases.list_leases(own) != []
    assert all(view.lease.lease_id == row.lease_id for view in await shop.leases.list_leases(own))


async def test_a_stranger_cannot_save_a_lease(shop: Installation) -> None:
    row, stranger = await private.source(shop, shop.tenant()), shop.tenant()

    with pytest.raises(errors.LeaseNotFound):
        await private.save(shop, stranger, row)

    assert await private.images(shop) == []


async def test_a_container_that_runs_is_not_saved(shop: Installation) -> None:
    key = shop.tenant()
    row = (await shop.lease(key, sku=support.SKU, size=private.TINY)).lease
    before = shop.earned

    with pytest.raises(use_cases.StopFirst):
        await private.save(shop, key, row)

    assert shop.earned == before


async def test_names_and_numbers_are_bounded(shop: Installation) -> None:
    key = shop.tenant(usdc_atomic=10_000_000)
    row = await private.source(shop, key)
    for number in range(5):
        await private.save(shop, key, row, name=f"image-{number}")

    with pytest.raises(private_images.ImageExists):
        await private.save(shop, key, row, name="image-3")
    with pytest.raises(private_images.TooManyImages):
        await private.save(shop, key, row, name="image-5")
    with pytest.raises(errors.OutOfBounds):
        await private.save(shop, key, row, minutes=59)
    for name in ("", "a", "-ab", "Ab", "a_b", "ab-", "a" * 41, "a b"):
        with pytest.raises(errors.InvalidRequest):
            await private.save(shop, key, row, name=name)


async def test_an_image_is_renewed_and_in_the_end_deleted(shop: Installation) -> None:
    key = shop.tenant()
    image = (await private.save(shop, key, await private.source(shop, key))).lease
    use = shop.parts.private_images
    assert image.expires_at is not None

    paying = shop.purchase(key, 120 * 2 * 40)
    longer = (await use.renew(image, 120, paying, None)).lease

    assert longer.expires_at is not None
    assert (longer.expires_at - image.expires_at).total_seconds() == 120 * 60
    shop.pass_time(181 * 60)
    await shop.settled_down()
    kept = await use.find(image.lease_id)
    assert (kept.status, kept.tenant_status) == (lease.LeaseStatus.STOPPED, "stopped")
    assert kept.deletes_at is not None
    wish = private.wish_from(image)
    with pytest.raises(private_images.ImageEnded):
        await shop.leases.create(wish, shop.buy(key, wish))
    back = (await use.renew(kept, 60, shop.purchase(key, 60 * 2 * 40), None)).lease
    assert (back.status, back.deletes_at) == (lease.LeaseStatus.ACTIVE, None)
    shop.pass_time(61 * 60)
    await shop.settled_down()
    shop.pass_time(25 * 3600)
    await shop.settled_down()
    (over,) = await private.images(shop)
    assert over.status is lease.LeaseStatus.ENDED
    assert image.vmid not in shop.proxmox.world.guests
    assert await support.unaccounted(shop) == []


async def test_an_owner_deletes_an_image_while_its_copies_stand(shop: Installation) -> None:
    key = shop.tenant()
    image = (await private.save(shop, key, await private.source(shop, key))).lease
    wish = private.wish_from(image)
    copy = (await shop.leases.create(wish, shop.buy(key, wish))).lease

    await shop.parts.private_images.end(image)
    await shop.settled_down()

    (over,) = await private.images(shop)
    assert over.status is lease.LeaseStatus.ENDED
    assert image.vmid not in shop.proxmox.world.guests
    assert shop.runs(copy.vmid)


async def test_images_take_disk_alone(shop: Installation) -> None:
    key = shop.tenant()
    row = await private.source(shop, key)
    before = await shop.parts.view.promises(shop.parts.db)

    await private.save(shop, key, row)

    from pve402.storage import lease_rows

    async with shop.parts.db.read() as tx:
        after = await lease_rows.list_promises(tx)
    assert sum(one.leases for one in after) == sum(one.leases for one in before)
    assert sum(one.size.cores for one in after) == sum(one.size.cores for one in before)
    assert sum(one.size.memory_mb for one in after) == sum(one.size.memory_mb for one in before)
    assert sum(one.size.disk_gb for one in after) == sum(one.size.disk_gb for one in before) + 2


async def test_too_small_a_disk_and_a_sku_without_images_are_refused(shop: Installation) -> None:
    key = shop.tenant()
    image = (await private.save(shop, key, await private.source(shop, key))).lease
    small = private.wish_from(image, size=lease.Size(cores=1, memory_mb=256, disk_gb=1))
    other = private.wish_from(
        image, sku="standard-lxc", size=lease.Size(cores=1, memory_mb=512, disk_gb=8)
    )

    with pytest.raises(errors.UnknownTemplate):
        await shop.leases.create(other, shop.buy(key, other))
    with pytest.raises(errors.OutOfBounds):
        await shop.leases.create(small, shop.buy(key, small))


async def test_without_a_rate_nothing_is_saved(tmp_path: Path, image_world: World) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *image_world) as shop:
        key = shop.tenant()
        row = await private.source(shop, key)

        with pytest.raises(private_images.ImagesNotOffered):
            await private.save(shop, key, row)


async def test_the_reconciler_leaves_images_alone(shop: Installation) -> None:
    key = shop.tenant()
    image = (await private.save(shop, key, await private.source(shop, key))).lease
    started = support.starts(shop)

    report = await shop.parts.lease_reconciler.run_once()
    await shop.settled_down()

    assert report.strangers == ()
    assert started == []
    assert (await shop.parts.private_images.find(image.lease_id)).status is lease.LeaseStatus.ACTIVE
