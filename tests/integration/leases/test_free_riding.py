"""What somebody can get without paying is bounded, for renewals as for creations."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.support.installation import Installation, creation, running

from pve402.domain import errors, lease, order
from pve402.leases.service import Caller
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import Endpoint, Fault, SimulatedFacilitator
from pve402_devnet.facilitator import FaultKind as Lost
from pve402_devnet.pve.simulator import SimulatedProxmox

START = r"POST .*/status/start$"
CREATE = r"POST /nodes/pve/lxc$"


@pytest.mark.parametrize("is_same_wallet", [True, False])
async def test_after_a_failed_renewal_the_next_is_settled_before_the_guest_starts(
    installation: Installation, is_same_wallet: bool
) -> None:
    tenant, second = installation.tenant(), installation.tenant()
    stopped = await expired(installation, await leased(installation, tenant))
    holder = Caller(owner=stopped.owner, lease_id=stopped.lease_id)
    await refused_renewal(installation, tenant, stopped)
    stopped = await installation.until(lambda row: row.status is lease.LeaseStatus.STOPPED)
    payer = tenant if is_same_wallet else second
    paid_when_it_started = []
    honest = installation.parts.machines.ensure_running

    async def start(row: lease.Lease, **named: Any) -> None:
        paid_when_it_started.append(installation.earned)
        await honest(row, **named)

    installation.parts.machines.ensure_running = start  # type: ignore[method-assign]
    before = installation.earned

    answer = await installation.leases.renew(
        stopped, 30, installation.renewal(payer, stopped, 30), holder
    )

    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    assert paid_when_it_started
    assert min(paid_when_it_started) > before
    assert installation.runs(answer.lease.vmid)


async def test_a_failed_renewal_of_one_lease_holds_up_no_other_tenant(
    installation: Installation,
) -> None:
    tenant, other = installation.tenant(), installation.tenant()
    stopped = await expired(installation, await leased(installation, tenant))
    theirs = await leased(installation, other)
    await refused_renewal(installation, tenant, stopped)

    answer = await installation.leases.renew(theirs, 30, installation.renewal(other, theirs, 30))

    assert answer.lease.status is lease.LeaseStatus.ACTIVE


async def test_a_fee_that_failed_holds_up_new_containers_of_its_wallet_and_nothing_else(
    installation: Installation,
) -> None:
    payer = installation.tenant()
    await refused_fee(installation, payer)

    answer = await installation.lease()

    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    paid = await installation.leases.pay_fee(installation.purchase(payer, 1000), "GET /x", {})
    assert paid.status is order.OrderStatus.SETTLED
    with pytest.raises(errors.WalletMustWait):
        await installation.lease(payer)


@pytest.mark.parametrize(
    ("setting", "refusal"),
    [
        ("pve402_max_unsettled_per_address", errors.TooManyUnsettled),
        ("pve402_max_unsettled_of_new_wallets", errors.TooManyUnsettled),
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
        asked = {"wait_seconds": 0.0, "client_address": "203.0.113.7"}
        async with made.holding(CREATE):
            for _ in range(2):
                await made.leases.create(wish, made.buy(made.tenant(), wish, **asked))

            with pytest.raises(refusal):
                await made.leases.create(wish, made.buy(made.tenant(), wish, **asked))


async def test_unsettled_creations_of_new_wallets_leave_room_for_known_ones(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    url, wish = f"sqlite:///{tmp_path}/db.sqlite3", creation()
    limit = {"pve402_max_unsettled_of_new_wallets": 1}
    async with running(url, proxmox, chain, facilitator, **limit) as made:
        known = made.tenant()
        await made.leases.create(wish, made.buy(known, wish))
        made.pass_time(25 * 3600)
        async with made.holding(CREATE):
            await made.leases.create(wish, made.buy(made.tenant(), wish, wait_seconds=0.0))

            with pytest.raises(errors.TooManyUnsettled, match="all new wallets together"):
                await made.leases.create(wish, made.buy(made.tenant(), wish, wait_seconds=0.0))
            await made.leases.create(wish, made.buy(known, wish, wait_seconds=0.0))


@pytest.mark.parametrize(
    ("paid", "per_wallet", "allowed"),
    [
        (["paid"], 1, 2),
        ([], 1, 1),
        (["paid"] * 4, 1, 3),
        (["paid"] * 4 + ["refused"], 1, 1),
        pytest.param(["paid"], 2, 2, id="an address that may have fewer than a wallet"),
    ],
)
async def test_orders_that_settled_earn_a_wallet_more_that_wait(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    *,
    paid: list[str],
    per_wallet: int,
    allowed: int,
) -> None:
    url, wish = f"sqlite:///{tmp_path}/db.sqlite3", creation()
    limits = {
        "pve402_max_unsettled_per_wallet": per_wallet,
        "pve402_max_unsettled_per_address": 1,
        "pve402_max_unsettled_per_payer": 3,
    }
    async with running(url, proxmox, chain, facilitator, **limits) as made:
        tenant, asked = made.tenant(), {"client_address": "203.0.113.7"}
        for end in paid:
            if end == "paid":
                await made.leases.create(wish, made.buy(tenant, wish, **asked))
            else:
                await refused_fee(made, tenant)
                made.pass_time(600)  # it may create again, but has earned nothing
        asked["wait_seconds"] = 0.0
        async with made.holding(CREATE):
            for _ in range(allowed):
                await made.leases.create(wish, made.buy(tenant, wish, **asked))

            with pytest.raises(errors.TooManyUnsettled):
                await made.leases.create(wish, made.buy(tenant, wish, **asked))


@pytest.mark.parametrize("stuck", [2, 3, 5, 8, 13])
async def test_orders_whose_outcome_stays_unknown_fill_nobody_elses_share(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    stuck: int,
) -> None:
    url, wish = f"sqlite:///{tmp_path}/db.sqlite3", creation()
    limits = {"pve402_max_unsettled": stuck, "pve402_max_unsettled_per_address": 100}
    async with running(url, proxmox, chain, facilitator, **limits) as made:
        facilitator.faults.add(Fault(kind=Lost.PENDING_LOST, endpoint=Endpoint.SETTLE, times=None))
        for _ in range(stuck):
            await made.leases.create(wish, made.buy(made.tenant(), wish, wait_seconds=0.0))
        await made.settled_down()
        with pytest.raises(errors.Overloaded):
            await made.leases.create(wish, made.buy(made.tenant(), wish))
        facilitator.faults.clear()
        made.pass_time(61)

        answer = await made.leases.create(wish, made.buy(made.tenant(), wish))

    assert answer.lease.status is lease.LeaseStatus.ACTIVE


async def leased(installation: Installation, tenant: LocalAccount) -> lease.Lease:
    """A lease of ten minutes."""
    return (await installation.lease(tenant, minutes=10)).lease


async def expired(installation: Installation, leased: lease.Lease) -> lease.Lease:
    """The lease when its time is over and its guest stopped."""
    installation.pass_time(700)
    return await installation.until(
        lambda row: row.lease_id == leased.lease_id and row.status is lease.LeaseStatus.STOPPED
    )


async def refused_fee(installation: Installation, tenant: LocalAccount) -> None:
    """Pay a fee with a payment that is spent on somebody else before it is settled."""
    purchase = installation.purchase(tenant, 1000)
    honest = installation.parts.settler.settle

    async def settle(*terms: Any, **named: Any) -> Any:
        await installation.spend_elsewhere(purchase)
        return await honest(*terms, **named)

    installation.parts.settler.settle = settle  # type: ignore[method-assign]
    with pytest.raises(errors.PaymentRefused):
        await installation.leases.pay_fee(purchase, "GET /management/list", {})
    installation.parts.settler.settle = honest  # type: ignore[method-assign]


async def refused_renewal(
    installation: Installation, tenant: LocalAccount, row: lease.Lease
) -> None:
    """Renew with a payment that is spent on somebody else before it is settled."""
    purchase = installation.renewal(tenant, row, 30)
    async with installation.holding(START):
        attempt = asyncio.create_task(installation.leases.renew(row, 30, purchase))
        await installation.until_status(lease.LeaseStatus.STARTING)
        await installation.spend_elsewhere(purchase)
    with pytest.raises(errors.PaymentRefused):
        await attempt
    await installation.settled_down()
