"""Private images when something goes wrong: a copy or an image that vanishes, a lost table."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from rich.console import Console
from tests.support import debts
from tests.support import images as support
from tests.support import private_images as private
from tests.support.images import image_proxmox, image_world
from tests.support.installation import Installation, World, owner_of, running, settings

from pve402 import bootstrap
from pve402.domain import errors, lease, order, private_images
from pve402.ops import enforcement, rebuild
from pve402.storage import tables

__all__ = ["image_proxmox", "image_world"]


@pytest.fixture
async def shop(tmp_path: Path, image_world: World) -> AsyncIterator[Installation]:
    """A running installation that offers private images and snapshots."""
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", private.catalogue(tmp_path)
    more = {"pve402_catalogue": file, "pve402_snapshots": 2}
    async with running(url, *image_world, **more) as made:
        yield made


def vanish_once(shop: Installation) -> list[int]:
    """Have the next guest that is handed over be gone."""
    gone: list[int] = []

    def vanish() -> None:
        vmid = max(shop.proxmox.world.guests)
        if not gone:
            gone.append(vmid)
            shop.proxmox.world.storages.free_all_of(vmid)
            del shop.proxmox.world.guests[vmid]
            shop.rekey.failures = 1

    shop.rekey.on_rekey = vanish
    return gone


async def until_paid_and_gone(gone: list[int]) -> None:
    """Wait until a guest is handed over, which comes after its payment."""
    for _ in range(600):
        if gone:
            return
        await asyncio.sleep(0.05)
    raise TimeoutError("no guest was handed over")


async def until_open_order_moves(shop: Installation) -> None:
    """Let the worker try again, several times."""
    for _ in range(8):
        shop.pass_time(30)
        await shop.settled_down()


async def test_a_paid_copy_that_vanished_is_copied_again_and_handed_over(
    shop: Installation,
) -> None:
    key = shop.tenant()
    image = (await private.save(shop, key, await private.source(shop, key))).lease
    wish, gone = private.wish_from(image, password="only-for-me"), vanish_once(shop)
    told, started = len(shop.rekey.told), support.starts(shop)

    with pytest.raises(errors.TryLater):
        await shop.leases.create(wish, shop.buy(key, wish, wait_seconds=0.5))
    await until_paid_and_gone(gone)
    await until_open_order_moves(shop)

    bought = (await shop.orders_now())[-1]
    (row,) = [one for one in await shop.leases_now() if one.lease_id == bought.lease_id]
    assert gone
    assert (bought.status, row.status) == (order.OrderStatus.SETTLED, lease.LeaseStatus.ACTIVE)
    assert (row.base, shop.runs(row.vmid)) == (image.lease_id, True)
    assert [secrets.password for _, secrets in shop.rekey.told[told:]] == ["only-for-me"]
    support.check_starts(await shop.leases_now(), started[-1:])
    assert await support.unaccounted(shop) == []


async def test_a_paid_copy_whose_image_is_gone_is_owed(shop: Installation) -> None:
    key = shop.tenant()
    image = (await private.save(shop, key, await private.source(shop, key))).lease
    wish = private.wish_from(image)
    gone = vanish_once(shop)
    with pytest.raises(errors.TryLater):
        await shop.leases.create(wish, shop.buy(key, wish, wait_seconds=0.5))
    await until_paid_and_gone(gone)

    await shop.parts.private_images.end(image)
    await until_open_order_moves(shop)
    debts.mine(shop)
    shop.pass_time(25 * 3600)
    await until_open_order_moves(shop)

    bought = (await shop.orders_now())[-1]
    assert bought.status is order.OrderStatus.OWED
    assert await shop.rows(tables.owed) != []
    assert await support.unaccounted(shop) == []


async def test_a_snapshot_is_saved_while_its_container_runs(shop: Installation) -> None:
    key = shop.tenant()
    row = (await shop.lease(key, sku=support.SKU, size=private.TINY)).lease
    await shop.leases.snapshots.take(row, "before")
    row = await shop.leases.find(row.lease_id)

    image = (await private.save(shop, key, row, snapshot="before")).lease

    assert support.options_of(shop, image.vmid)["template"] == 1
    assert "parent" not in support.options_of(shop, image.vmid)
    assert shop.runs(row.vmid)
    assert await support.unaccounted(shop) == []


async def test_a_contract_is_told_before_money_moves(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = shop.tenant()
    row = await private.source(shop, key)
    image = (await private.save(shop, key, row)).lease
    wish, before = private.wish_from(image), shop.earned

    async def has_code(_payment: object) -> bool:
        return True

    monkeypatch.setattr(shop.parts.settler, "payer_has_code", has_code)
    with pytest.raises(private_images.ImageNeedsKey):
        await shop.leases.create(wish, shop.buy(key, wish))
    with pytest.raises(private_images.ImageNeedsKey):
        await private.save(shop, key, row, name="another")

    assert shop.earned == before


async def test_a_copy_that_fails_is_not_paid(shop: Installation) -> None:
    key = shop.tenant()
    row, before = await private.source(shop, key), shop.earned
    shop.fail_call(r"POST .*/clone$")

    with pytest.raises(errors.ProvisioningFailed):
        await private.save(shop, key, row)
    await shop.settled_down()

    (image,) = await private.images(shop)
    assert (image.status, shop.earned) == (lease.LeaseStatus.FAILED, before)
    assert await support.unaccounted(shop) == []


async def test_a_rebuilt_image_is_its_owners_until_the_same_end(
    tmp_path: Path, image_world: World
) -> None:
    file = private.catalogue(tmp_path)
    lost, new = (f"sqlite:///{tmp_path}/{name}.sqlite3" for name in ("lost", "new"))
    async with running(lost, *image_world, pve402_catalogue=file) as shop:
        key = shop.tenant()
        image = (await private.save(shop, key, await private.source(shop, key))).lease
        shop.pass_time(30)
        await shop.settled_down()
        price = shop.parts.private_images.prices_of_renewal(image, 60)

    parts = bootstrap.build(settings(new, *image_world, pve402_catalogue=file))
    await rebuild.Rebuild(apply=True).run(parts, Console(quiet=True))
    found = await parts.private_images.find(image.lease_id)
    await parts.close()

    assert (found.account, found.hostname, found.is_to_run) == (owner_of(key), "tools", False)
    assert (found.status, found.expires_at) == (lease.LeaseStatus.ACTIVE, image.expires_at)
    assert found.burn == image.burn
    assert parts.private_images.prices_of_renewal(found, 60) == price


async def test_an_operator_suspends_and_ends_an_image(shop: Installation) -> None:
    key = shop.tenant()
    image = (await private.save(shop, key, await private.source(shop, key))).lease
    quiet = Console(quiet=True)
    wish = private.wish_from(image)

    await enforcement.Suspend(name=image.lease_id, reason="abuse").run(shop.parts, quiet)
    with pytest.raises(errors.LeaseSuspended):
        await shop.leases.create(wish, shop.buy(key, wish))
    assert await enforcement.resume(shop.parts, quiet, name=image.lease_id) == 0
    await shop.settled_down()
    assert not (await shop.parts.private_images.find(image.lease_id)).is_to_run
    assert await enforcement.end(shop.parts, quiet, name=image.lease_id) == 0
    await shop.settled_down()

    assert image.vmid not in shop.proxmox.world.guests


async def test_two_copies_of_one_image_at_once_take_turns(shop: Installation) -> None:
    key = shop.tenant()
    image = (await private.save(shop, key, await private.source(shop, key))).lease
    wishes = [private.wish_from(image, hostname=f"copy-{number}") for number in range(2)]

    made = await asyncio.gather(*(shop.leases.create(wish, shop.buy(key, wish)) for wish in wishes))

    assert all(shop.runs(one.lease.vmid) for one in made)
    assert await support.unaccounted(shop) == []
