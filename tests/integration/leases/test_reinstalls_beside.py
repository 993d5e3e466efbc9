"""Reinstallations beside what else becomes of a lease: its end, its renewal, other processes."""

import pytest
from tests.integration.leases.test_reinstalls import leased, shop
from tests.support import images
from tests.support import reinstalls as support
from tests.support.installation import Installation
from tests.support.snapshots import snapshot_proxmox, snapshot_world

from pve402.domain import errors, lease, reinstalls
from pve402.storage import tables
from pve402_devnet.pve.faults import FaultKind

__all__ = ["shop", "snapshot_proxmox", "snapshot_world"]

State = reinstalls.State


async def test_one_whose_lease_ends_is_over_and_no_other_begins(shop: Installation) -> None:
    row = await leased(shop)
    shop.fail_call(r"POST .*/lxc$", FaultKind.ERROR, times=50)
    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: "simulated failure" in (now.last_error or ""))

    async with shop.holding(r"GET .*/status/current$"):
        await shop.leases.end(await shop.leases.find(row.lease_id))
        for wish in ({}, {"template": "other"}):
            with pytest.raises(errors.LeaseNotReady):
                await support.reinstall(shop, row, **wish)
    (outcome,) = await support.gathered(begun)
    await shop.until_status(lease.LeaseStatus.ENDED)

    assert isinstance(outcome, errors.LeaseOver)
    with pytest.raises(errors.LeaseOver):
        await support.reinstall(shop, row)
    assert await shop.rows(tables.reinstalls) == []


async def test_a_renewal_finds_the_guest_of_a_lease_that_ended_before_it_was_given_up(
    shop: Installation,
) -> None:
    tenant = shop.tenant()
    row = (await shop.lease(tenant, sku=images.SKU)).lease
    guest = shop.proxmox.world.guests[row.vmid]
    shop.pass_time(57.5 * 60)
    guest.config.put("lock", "backup")
    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: now.last_error is not None)

    shop.pass_time(160)
    await shop.until_status(lease.LeaseStatus.STOPPING)
    guest.config.options.pop("lock")
    shop.pass_time(1)
    stopped = await shop.until_status(lease.LeaseStatus.STOPPED)
    (outcome,) = await support.gathered(begun)
    await shop.leases.renew(stopped, 30, shop.renewal(tenant, stopped, 30))
    await shop.settled_down()
    await shop.parts.lease_reconciler.run_once()
    await shop.settled_down()

    assert isinstance(outcome, reinstalls.ReinstallFailed)
    assert (await support.latest(shop)).state is State.FAILED
    assert shop.proxmox.world.guests[row.vmid] is guest
    assert shop.runs(row.vmid)
