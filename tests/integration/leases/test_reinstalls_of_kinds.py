"""Reinstallations from and to OCI images, of leases whose snapshots burn, and beside savings."""

import asyncio
from pathlib import Path

import pytest
from tests.integration.leases import test_burning_snapshots as burning
from tests.support import images, oci, private_images
from tests.support import reinstalls as support
from tests.support.images import image_proxmox, image_world
from tests.support.installation import World, running
from tests.support.snapshots import snapshot_proxmox, snapshot_world

from pve402.domain import errors, meter, reinstalls
from pve402.storage import tables
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator

__all__ = ["image_proxmox", "image_world", "snapshot_proxmox", "snapshot_world"]


async def test_a_lease_of_an_oci_image_gets_one_that_lives(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    oci.catalogue(tmp_path)
    async with (
        oci.proxmox() as cluster,
        oci.selling(tmp_path, (cluster, chain, facilitator)) as shop,
    ):
        await oci.tried(shop)
        row = (await shop.lease(**oci.WISH)).lease
        before, old = support.options(shop, row.vmid), shop.proxmox.world.guests[row.vmid]
        started = images.starts(shop)

        outcome = await support.reinstall(shop, row)
        await shop.settled_down()

        assert outcome.made is not None
        assert outcome.made.state is reinstalls.State.DONE
        assert shop.proxmox.world.guests[row.vmid] is not old
        assert support.options(shop, row.vmid) == before
        assert [oci.lives(options) for _, options in started] == [True]
        assert shop.runs(row.vmid)


async def test_snapshots_that_go_burn_no_more(tmp_path: Path, snapshot_world: World) -> None:
    chosen = {"pve402_snapshots": 3, "pve402_catalogue": burning.write_catalogue(tmp_path)}
    async with running(f"sqlite:///{tmp_path}/db", *snapshot_world, **chosen) as shop:
        row = (await shop.lease(minutes=60)).lease
        kept = await burning.taken(shop, row)

        await support.reinstall(shop, row, delete_snapshots=True)
        await shop.settled_down()

        now = await shop.leases.find(row.lease_id)
        assert burning.burnt_usd(kept) == burning.SIZE_USD + burning.KEPT_USD
        assert burning.burnt_usd(now) == burning.SIZE_USD
        assert (now.snapshot_gb, now.snapshot_burn) == (None, None)
        assert await shop.rows(tables.snapshots) == []
        assert burning.told(shop, now) == meter.of(now)


async def test_what_is_about_to_go_is_neither_saved_nor_renewed(
    tmp_path: Path, image_world: World
) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", private_images.catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as shop:
        tenant = shop.tenant()
        row = await private_images.source(shop, tenant)
        guest = shop.proxmox.world.guests[row.vmid]
        async with shop.holding(r"GET .*/feature$"):
            asked = shop.record_proxmox_calls()
            saving = asyncio.create_task(private_images.save(shop, tenant, row))
            await shop.until(lambda _: any("/feature" in call for call in asked))
            guest.config.put("lock", "backup")
            begun = support.reinstalling(shop, row)
            await shop.until(lambda now: now.last_error is not None)
        now = await shop.leases.find(row.lease_id)

        refused = [
            saving,  # it was checked before
            shop.parts.private_images.check_saving(now, private_images.asked(now)),
            shop.leases.renew(now, 30, shop.renewal(tenant, now, 30)),
            shop.leases.check_renewable(now, 30),
        ]
        for call in refused:
            with pytest.raises(errors.LeaseBusy):
                await call
        guest.config.options.pop("lock")
        shop.pass_time(1)
        await shop.settled_down()
        await begun

        assert not shop.runs(row.vmid)


async def test_what_is_being_saved_stays(tmp_path: Path, image_world: World) -> None:
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", private_images.catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as shop:
        tenant = shop.tenant()
        row = await private_images.source(shop, tenant)
        async with shop.holding(r"POST .*/clone$"):
            saving = asyncio.create_task(private_images.save(shop, tenant, row))
            await shop.until(lambda now: now.is_private_image)
            with pytest.raises(errors.LeaseBusy):
                await support.reinstall(shop, row)

        assert (await saving).lease.is_private_image
