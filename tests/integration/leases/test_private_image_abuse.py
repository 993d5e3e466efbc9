"""Images that are made to fail, or that would keep others from their containers."""

import asyncio

import pytest
from tests.integration.leases.test_creation import foreign
from tests.support import images as support
from tests.support import private_images as private
from tests.support.images import image_proxmox, image_world
from tests.support.installation import Installation
from tests.support.private_images import shop

from pve402.domain import copies, errors, lease, order, private_images
from pve402.leases import purchases
from pve402.storage import lease_rows, tables

__all__ = ["image_proxmox", "image_world", "shop"]


async def test_copies_that_do_not_come_up_are_made_ever_more_seldom(shop: Installation) -> None:
    key = shop.tenant()
    image = (await private.save(shop, key, await private.source(shop, key))).lease
    wish, before = private.wish_from(image), shop.earned
    shop.fail_call(r"POST .*/status/start$")
    with pytest.raises(errors.ProvisioningFailed):
        await shop.leases.create(wish, shop.buy(key, wish))

    with pytest.raises(copies.CopiesFailed):
        await shop.leases.create(wish, shop.buy(key, wish))
    assert shop.earned == before
    elsewhere = purchases.Redeemer(
        owner=f"eip155:1:{image.account.rpartition(':')[2]}", by_key=True, client_address=None
    )
    sku = shop.leases.catalogue.sku(wish.sku)
    assert await shop.leases.check_choice(wish, sku, elsewhere) == image
    failed = tables.leases.c.end_reason == "start_failed"
    async with shop.parts.db.begin() as tx:
        await tx.execute(tables.leases.update().where(failed).values(owner=elsewhere.owner))
    with pytest.raises(copies.CopiesFailed):
        await shop.leases.check_choice(wish, sku, elsewhere)
    shop.pass_time(61)
    made = await shop.leases.create(wish, shop.buy(key, wish))

    assert shop.runs(made.lease.vmid)


async def test_a_paid_copy_that_cannot_be_rekeyed_is_its_tenants_as_it_is(
    shop: Installation,
) -> None:
    key = shop.tenant()
    image = (await private.save(shop, key, await private.source(shop, key))).lease
    wish = private.wish_from(image)
    shop.rekey.failures = 10_000

    with pytest.raises(errors.TryLater):
        await shop.leases.create(wish, shop.buy(key, wish, wait_seconds=0.5))
    for _ in range(600):
        if (await shop.orders_now())[-1].settled_at is not None:
            break
        await asyncio.sleep(0.05)
    for _ in range(12):
        shop.pass_time(60)
        await shop.settled_down()

    bought = (await shop.orders_now())[-1]
    (row,) = [one for one in await shop.leases_now() if one.lease_id == bought.lease_id]
    assert (bought.status, bought.tries) == (order.OrderStatus.SETTLED, 0)
    assert row.status is lease.LeaseStatus.ACTIVE
    assert await support.unaccounted(shop) == []


async def test_a_number_that_a_foreign_guest_has_is_passed_over(shop: Installation) -> None:
    key = shop.tenant()
    row = await private.source(shop, key)
    shop.proxmox.world.guests[row.vmid + 1] = foreign(shop)

    image = (await private.save(shop, key, row)).lease

    assert (image.vmid, image.status) == (row.vmid + 2, lease.LeaseStatus.ACTIVE)


async def test_a_saving_waits_for_its_turn_and_asks_proxmox_nothing(shop: Installation) -> None:
    key = shop.tenant()
    row = await private.source(shop, key)
    copy = row.evolve(template=private_images.template_of("l1"), status=lease.LeaseStatus.RESERVED)
    async with shop.parts.db.begin() as tx:
        for number in (1, 2):
            one = copy.evolve(lease_id=f"l{number}", vmid=copy.vmid + 100 + number)
            await lease_rows.insert(shop.parts.db, tx, one, due=False)
        copied = tables.leases.update().where(tables.leases.c.template == copy.template)
        await tx.execute(copied.values(create_sent_at=shop.parts.db.now()))
    asked = shop.record_proxmox_calls()

    saving = asyncio.create_task(private.save(shop, key, row))
    for _ in range(1000):
        if "of its owner" in ((await shop.orders_now())[-1].last_error or ""):
            break
        await asyncio.sleep(0.005)
    else:
        pytest.fail("it does not wait")
    waited = [call for call in asked if "nextid" in call or call.startswith("POST")]
    saving.cancel()

    assert waited == []
