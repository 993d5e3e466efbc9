"""Renewal: minutes that were paid, exactly, whatever happens meanwhile."""

import asyncio
import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from tests.support.installation import Installation

from pve402.domain import errors, lease
from pve402.leases.service import Caller
from pve402.payments import facilitators

START = r"POST .*/status/start$"


async def test_minutes_count_from_the_end_of_a_running_lease(installation: Installation) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant, minutes=60)).lease

    answer = await installation.leases.renew(first, 30, installation.renewal(tenant, first, 30))

    assert first.expires_at is not None
    assert answer.lease.expires_at == first.expires_at + timedelta(minutes=30)
    assert answer.access_token is None


async def test_the_price_is_that_of_the_stored_size(installation: Installation) -> None:
    size = lease.Size(cores=2, memory_mb=4096, disk_gb=40)
    big = (await installation.lease(size=size)).lease
    small = (await installation.lease()).lease

    dear = installation.leases.prices.of_renewal(big, 60)[0]
    cheap = installation.leases.prices.of_renewal(small, 60)[0]

    assert dear > 2 * cheap


async def test_two_renewals_at_once_give_both_their_minutes_or_are_told_busy(
    installation: Installation,
) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant, minutes=60)).lease
    payments = [installation.renewal(tenant, first, 30) for _ in range(5)]
    before = installation.earned

    results = await asyncio.gather(
        *(installation.leases.renew(first, 30, payment) for payment in payments),
        return_exceptions=True,
    )

    done = [found for found in results if not isinstance(found, BaseException)]
    told = [found for found in results if isinstance(found, errors.LeaseBusy)]
    (row,) = await installation.leases_now()
    assert len(done) + len(told) == 5
    assert done
    assert row.expires_at == first.expires_at + timedelta(minutes=30 * len(done))
    paid_each = installation.renewal(tenant, first, 30).payment.amount_atomic
    assert installation.earned - before == len(done) * paid_each


async def test_a_renewal_in_grace_starts_the_guest_again(installation: Installation) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant, minutes=10)).lease
    installation.pass_time(700)
    stopped = await installation.until_status(lease.LeaseStatus.STOPPED)

    answer = await installation.leases.renew(stopped, 30, installation.renewal(tenant, stopped, 30))

    now = await installation.parts.db.time()
    assert not installation.runs(first.vmid) or answer.lease.status is lease.LeaseStatus.ACTIVE
    assert installation.runs(first.vmid)
    assert answer.lease.expires_at is not None
    assert abs((answer.lease.expires_at - now).total_seconds() - 1800) < 5
    assert answer.lease.deletes_at is None


async def test_a_guest_that_does_not_start_costs_nothing(installation: Installation) -> None:
    tenant = installation.tenant()
    await installation.lease(tenant, minutes=10)
    installation.pass_time(700)
    stopped = await installation.until_status(lease.LeaseStatus.STOPPED)
    earned = installation.earned
    installation.fail_call(START)

    with pytest.raises(errors.ProvisioningFailed):
        await installation.leases.renew(stopped, 30, installation.renewal(tenant, stopped, 30))
    await installation.settled_down()

    (row,) = await installation.leases_now()
    assert installation.earned == earned
    assert row.status is lease.LeaseStatus.STOPPED
    assert row.hold_order_id is None


async def test_a_refused_settlement_stops_the_woken_guest_again(
    installation: Installation,
) -> None:
    tenant = installation.tenant()
    await installation.lease(tenant, minutes=10)
    installation.pass_time(700)
    stopped = await installation.until_status(lease.LeaseStatus.STOPPED)
    purchase = installation.renewal(tenant, stopped, 30)

    async with installation.holding(START):
        attempt = asyncio.create_task(installation.leases.renew(stopped, 30, purchase))
        await installation.until_status(lease.LeaseStatus.STARTING)
        await installation.spend_elsewhere(purchase)
    with pytest.raises(errors.PaymentRefused):
        await attempt
    await installation.settled_down()

    (row,) = await installation.leases_now()
    assert row.status is lease.LeaseStatus.STOPPED
    assert not installation.runs(row.vmid)


async def test_the_hold_keeps_expiry_away(installation: Installation) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant, minutes=5)).lease
    stop_guest(installation, first.vmid)

    async with installation.holding(START):
        attempt = asyncio.create_task(
            installation.leases.renew(first, 30, installation.renewal(tenant, first, 30))
        )
        during = await installation.until(lambda row: row.hold_order_id is not None)
        installation.pass_time(310)
    answer = await attempt

    assert during.status is lease.LeaseStatus.ACTIVE
    assert answer.lease.status is lease.LeaseStatus.ACTIVE


async def test_a_paid_renewal_whose_guest_is_gone_ends(installation: Installation) -> None:
    tenant = installation.tenant()
    await installation.lease(tenant, minutes=10)
    installation.pass_time(700)
    stopped = await installation.until_status(lease.LeaseStatus.STOPPED)
    honest = installation.parts.settler.settle

    async def settle(*terms: Any, **named: Any) -> Any:
        settled = await honest(*terms, **named)
        stop_guest(installation, stopped.vmid)
        installation.pass_time(61)
        del installation.proxmox.world.guests[stopped.vmid]
        return dataclasses.replace(settled, outcome=facilitators.Outcome.UNKNOWN)

    installation.parts.settler.settle = settle  # type: ignore[method-assign]
    purchase = installation.renewal(tenant, stopped, 30)
    await installation.leases.renew(stopped, 30, dataclasses.replace(purchase, wait_seconds=0))
    await installation.until(lambda row: stopped.vmid not in installation.proxmox.world.guests)
    installation.parts.settler.settle = honest  # type: ignore[method-assign]
    for _ in range(60):
        installation.pass_time(2)
        (row,) = await installation.leases_now()
        if row.status is lease.LeaseStatus.ACTIVE:
            break
        await asyncio.sleep(0.05)
    await installation.proxmox.publish()
    await installation.parts.lease_reconciler.run_once()
    ended = await installation.until_status(lease.LeaseStatus.ENDED)

    assert ended.end_reason == "guest_vanished"
    assert ended.hold_order_id is None


async def test_a_stranger_cannot_renew_and_is_told_nothing(installation: Installation) -> None:
    first = (await installation.lease()).lease
    stranger = installation.tenant()

    with pytest.raises(errors.LeaseNotFound):
        await installation.leases.renew(first, 30, installation.renewal(stranger, first, 30))


async def test_whoever_holds_the_token_may_pay(installation: Installation) -> None:
    first = (await installation.lease()).lease
    friend = installation.tenant()
    holder = Caller(owner=first.owner, lease_id=first.lease_id)

    answer = await installation.leases.renew(
        first, 30, installation.renewal(friend, first, 30), holder
    )

    assert answer.lease.owner == first.owner
    assert answer.lease.expires_at == first.expires_at + timedelta(minutes=30)


async def test_a_lease_that_is_over_cannot_be_renewed(installation: Installation) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant)).lease
    await installation.leases.end(first)
    ended = await installation.until_status(lease.LeaseStatus.ENDED)

    with pytest.raises(errors.LeaseOver):
        await installation.leases.renew(ended, 30, installation.renewal(tenant, ended, 30))


async def test_time_paid_ahead_is_capped(installation: Installation) -> None:
    tenant = installation.tenant(usdc_atomic=10**9)
    first = (await installation.lease(tenant)).lease
    minutes = 30 * 24 * 60

    with pytest.raises(errors.PaidTooFarAhead):
        await installation.leases.renew(
            first, minutes, installation.renewal(tenant, first, minutes)
        )


async def test_a_held_lease_cannot_be_ended(installation: Installation) -> None:
    tenant = installation.tenant()
    first = (await installation.lease(tenant)).lease
    stop_guest(installation, first.vmid)

    async with installation.holding(START):
        attempt = asyncio.create_task(
            installation.leases.renew(first, 30, installation.renewal(tenant, first, 30))
        )
        held = await installation.until(lambda row: row.hold_order_id is not None)
        with pytest.raises(errors.LeaseBusy):
            await installation.leases.end(held)

    await attempt


async def test_rates_stored_with_the_lease_serve_when_the_sku_is_gone(
    installation: Installation,
) -> None:
    first = (await installation.lease()).lease
    dear = installation.leases.prices.of_renewal(first, 60)[0]
    gone = first.evolve(sku="no-longer-on-sale")

    assert installation.leases.prices.of_renewal(gone, 60)[0] == dear


def stop_guest(installation: Installation, vmid: int) -> None:
    """Have the guest go down by itself."""
    guest = installation.proxmox.world.guests[vmid]
    guest.pid = guest.started_at = None
