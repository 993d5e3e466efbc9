"""What somebody can have without paying: bounded, for renewals as for creations."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.support.installation import Installation, creation, running

from pve402.domain import errors, lease
from pve402.leases.service import Caller
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.faults import FaultKind
from pve402_devnet.pve.simulator import SimulatedProxmox

START = r"POST .*/status/start$"


async def test_a_renewal_after_a_failed_settlement_waits(installation: Installation) -> None:
    tenant = installation.tenant()
    stopped = await expired(installation, await leased(installation, tenant))
    await refused_renewal(installation, tenant, stopped)

    with pytest.raises(errors.WalletMustWait) as told:
        await installation.leases.renew(stopped, 30, installation.renewal(tenant, stopped, 30))

    (row,) = await installation.leases_now()
    assert told.value.retry_after_seconds is not None
    assert row.hold_order_id is None


async def test_another_wallet_does_not_shorten_the_wait_of_a_lease(
    installation: Installation,
) -> None:
    tenant, second = installation.tenant(), installation.tenant()
    stopped = await expired(installation, await leased(installation, tenant))
    holder = Caller(owner=stopped.owner, lease_id=stopped.lease_id)
    await refused_renewal(installation, tenant, stopped)

    with pytest.raises(errors.WalletMustWait):
        await installation.leases.renew(
            stopped, 30, installation.renewal(second, stopped, 30), holder
        )


async def test_a_failed_renewal_of_one_lease_holds_up_no_other_tenant(
    installation: Installation,
) -> None:
    tenant, other = installation.tenant(), installation.tenant()
    stopped = await expired(installation, await leased(installation, tenant))
    theirs = await leased(installation, other)
    await refused_renewal(installation, tenant, stopped)

    answer = await installation.leases.renew(theirs, 30, installation.renewal(other, theirs, 30))

    assert answer.lease.status is lease.LeaseStatus.ACTIVE


async def test_a_fee_that_failed_holds_up_its_own_wallet_and_no_other(
    installation: Installation,
) -> None:
    purchase = installation.purchase(installation.tenant(), 1000)
    honest = installation.parts.settler.settle

    async def settle(*terms: Any, **named: Any) -> Any:
        await installation.spend_elsewhere(purchase)
        return await honest(*terms, **named)

    installation.parts.settler.settle = settle  # type: ignore[method-assign]
    with pytest.raises(errors.PaymentRefused):
        await installation.leases.pay_fee(purchase, "GET /management/list", {})
    installation.parts.settler.settle = honest  # type: ignore[method-assign]

    answer = await installation.lease()
    payer = next(key for key in installation.tenants if key.address.lower() == purchase.owner[-42:])

    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    with pytest.raises(errors.WalletMustWait):
        await installation.leases.pay_fee(installation.purchase(payer, 1000), "GET /x", {})


@pytest.mark.parametrize(
    ("setting", "refusal"),
    [
        ("pve402_max_unsettled_per_address", errors.TooManyUnsettled),
        ("pve402_max_unsettled", errors.Overloaded),
    ],
)
async def test_unsettled_creations_are_bounded_over_many_wallets(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    setting: str,
    refusal: type[errors.Pve402Error],
) -> None:
    url, wish = f"sqlite:///{tmp_path}/db.sqlite3", creation()
    async with running(url, proxmox, chain, facilitator, **{setting: 2}) as made:
        made.fail_call(r"POST /nodes/pve/lxc$", FaultKind.SLOW, seconds=1.0, times=50)
        asked = {"wait_seconds": 0.0, "client_address": "203.0.113.7"}
        for _ in range(2):
            await made.leases.create(wish, made.buy(made.tenant(), wish, **asked))

        with pytest.raises(refusal):
            await made.leases.create(wish, made.buy(made.tenant(), wish, **asked))


async def leased(installation: Installation, tenant: LocalAccount) -> lease.Lease:
    """A lease of ten minutes."""
    return (await installation.lease(tenant, minutes=10)).lease


async def expired(installation: Installation, of: lease.Lease) -> lease.Lease:
    """The lease when its time is over and its guest stopped."""
    installation.pass_time(700)
    return await installation.until(
        lambda row: row.lease_id == of.lease_id and row.status is lease.LeaseStatus.STOPPED
    )


async def refused_renewal(
    installation: Installation, tenant: LocalAccount, of: lease.Lease
) -> None:
    """Renew with a payment that is spent on somebody else before it is settled."""
    purchase = installation.renewal(tenant, of, 30)
    installation.fail_call(START, FaultKind.SLOW, seconds=0.5)
    attempt = asyncio.create_task(installation.leases.renew(of, 30, purchase))
    await installation.until_status(lease.LeaseStatus.STARTING)
    await installation.spend_elsewhere(purchase)
    with pytest.raises(errors.PaymentRefused):
        await attempt
    await installation.settled_down()
