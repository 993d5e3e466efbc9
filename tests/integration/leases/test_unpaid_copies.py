"""Copies run their tenant's programs before they are paid for, so they are on no network then."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.integration.leases.test_isolation import NETWORK, connected
from tests.support import forks as support
from tests.support import images as image_support
from tests.support import private_images as private
from tests.support.images import image_proxmox, image_world
from tests.support.installation import Installation, World, running

from pve402.domain import copies, errors, forks, lease, networks
from pve402.leases import machine
from pve402.leases import on_sale as sale

__all__ = ["image_proxmox", "image_world"]


@pytest.fixture
async def shop(tmp_path: Path, image_world: World) -> AsyncIterator[Installation]:
    """A running installation that sells forks and private images, on an open network."""
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", private.catalogue(tmp_path)
    async with running(url, *image_world, **support.SETTINGS, pve402_catalogue=file) as made:
        yield made


class Settling:
    """Holds settlements, and lets them go on."""

    def __init__(self, shop: Installation) -> None:
        self.begun, self.goes_on = asyncio.Event(), asyncio.Event()
        settler = shop.parts.settler
        self._honest, settler.settle = settler.settle, self._settle  # type: ignore[method-assign]

    async def _settle(self, *terms: Any, **named: Any) -> Any:
        self.begun.set()
        await self.goes_on.wait()
        return await self._honest(*terms, **named)


async def rows_of(shop: Installation, copies: Sequence[Any]) -> list[lease.Lease]:
    return [await shop.leases.find(one.lease.lease_id) for one in copies]


async def test_a_forks_copies_are_connected_once_they_are_paid_for(shop: Installation) -> None:
    source = await support.source_of(shop)
    settling = Settling(shop)

    forking = asyncio.ensure_future(support.fork(shop, source, 2))
    await settling.begun.wait()
    unpaid = [row for row in await shop.leases_now() if row.forked_from]
    down = [shop.runs(row.vmid) and not support.is_connected(shop, row) for row in unpaid]
    cards = {image_support.options_of(shop, row.vmid)["net0"] for row in unpaid}
    settling.goes_on.set()
    answer = await forking

    rows = await rows_of(shop, (answer, *answer.others))
    assert down == [True, True]
    assert all(support.is_connected(shop, row) for row in rows)
    now = {image_support.options_of(shop, row.vmid)["net0"] for row in rows}
    assert now == {card.replace(",link_down=1", "") for card in cards}


async def test_a_lease_from_a_private_image_is_connected_once_it_is_paid_for(
    shop: Installation,
) -> None:
    key = shop.tenant()
    image = (await private.save(shop, key, await private.source(shop, key))).lease
    wish, settling = private.wish_from(image), Settling(shop)

    leasing = asyncio.ensure_future(shop.leases.create(wish, shop.buy(key, wish)))
    await settling.begun.wait()
    (unpaid,) = [row for row in await shop.leases_now() if row.template == wish.template]
    is_up = support.is_connected(shop, unpaid)
    settling.goes_on.set()

    (row,) = await rows_of(shop, [await leasing])
    assert (is_up, support.is_connected(shop, row)) == (False, True)


async def test_a_card_that_cannot_be_switched_on_is_switched_on_later(shop: Installation) -> None:
    source = await support.source_of(shop)
    honest = shop.rekey.rekey

    async def rekey(row: lease.Lease, secrets: machine.Secrets) -> None:
        await honest(row, secrets)
        shop.fail_call(r"PUT .*/lxc/\d+/config$", times=1)

    shop.rekey.rekey = rekey  # type: ignore[method-assign]
    answer = await support.fork(shop, source)
    assert answer.order.is_paid

    await shop.settled_down()
    shop.pass_time(20)
    await shop.settled_down()

    (row,) = await rows_of(shop, [answer])
    assert support.is_connected(shop, row)


async def test_on_an_isolated_network_a_copy_is_connected_behind_rules_of_its_own(
    tmp_path: Path, image_world: World
) -> None:
    walls = image_world[0].world.firewalls
    walls.cluster.options["enable"] = 1
    file = private.catalogue(tmp_path, f'{NETWORK}isolation = "tenant"\n')
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *image_world, **support.SETTINGS, pve402_catalogue=file) as shop:
        source = await support.source_of(shop)
        started = image_support.starts(shop)

        (row,) = await rows_of(shop, [await support.fork(shop, source)])
        waits = not support.is_connected(shop, row)
        ready = await connected(shop, row)

        assert waits
        assert support.is_connected(shop, ready)
        assert walls.read_guest(row.vmid).options["enable"] == 1
        assert row.addresses != source.addresses
        await support.check_all(shop, started)


async def test_no_copy_is_sold_where_it_would_tell_its_own_address(shop: Installation) -> None:
    source, key = await support.source_of(shop), shop.tenant()
    image = (await private.save(shop, key, await private.source(shop, key))).lease
    wish, earned = private.wish_from(image), shop.earned
    told = networks.Learned(subnet=ip_network("10.99.0.0/24"), source=networks.Source.DHCP)
    selling = shop.parts.on_sale
    profiles = {
        name: dataclasses.replace(one, isolation=networks.Isolation.TENANT, ipv4=told)
        for name, one in selling.now.networks.items()
    }
    on_dhcp = dataclasses.replace(selling.now, networks=profiles)
    selling.replace(sale.Version(number=99, catalogue=on_dhcp), ())

    with pytest.raises(forks.ForkUnsupported):
        await shop.parts.forks.check(source)
    buyer = shop.buy(key, wish)
    with pytest.raises(errors.UnknownTemplate):
        await shop.leases.check_choice(wish, on_dhcp.sku(wish.sku), buyer)

    assert shop.earned == earned


async def test_forks_that_do_not_come_up_are_made_ever_more_seldom(shop: Installation) -> None:
    source, key, earned = await support.source_of(shop), shop.tenant(), shop.earned
    shop.fail_call(r"POST .*/status/start$")
    with pytest.raises(errors.ProvisioningFailed):
        await support.fork(shop, source, key=key)
    await shop.settled_down()

    with pytest.raises(copies.CopiesFailed):
        await support.fork(shop, source, key=key)
    assert shop.earned == earned
    shop.pass_time(61)
    made = await support.fork(shop, source, key=key)

    assert shop.runs(made.lease.vmid)
