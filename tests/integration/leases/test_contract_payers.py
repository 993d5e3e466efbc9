"""Payers whose contract decides: nothing of theirs runs before the money has moved."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.support import awkward
from tests.support.chain import new_account
from tests.support.contract_payers import MONEY, bought
from tests.support.installation import Installation, World, creation, running

from pve402.domain import errors, lease, order
from pve402.leases import workflow
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.chain.contracts import Manner
from pve402_devnet.facilitator import Endpoint, Fault, FaultKind, SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox

START = r"POST .*/status/start$"
KEY = "an-idempotency-key-of-a-client"
FORGED = ["01", "11" * 65, "ff" * 64, "ab" * 600, "00" * 96 + "6492" * 16]


@pytest.fixture
async def shop(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> AsyncIterator[Installation]:
    """A running installation that notes how much was earned when a guest was started."""
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, proxmox, chain, facilitator) as made:
        yield made


@dataclasses.dataclass
class Starts:
    """How much had been earned each time a guest was started."""

    earned: list[int]


@pytest.fixture
def starts(shop: Installation) -> Starts:
    """Watches every start of a guest."""
    seen = Starts(earned=[])
    honest = shop.parts.machines.ensure_running

    async def ensure_running(row: lease.Lease, **named: Any) -> None:
        seen.earned.append(shop.earned)
        await honest(row, **named)

    shop.parts.machines.ensure_running = ensure_running  # type: ignore[method-assign]
    return seen


def delegated(shop: Installation, manner: Manner, limit: int = 0) -> LocalAccount:
    """An account with a key whose code is that of an awkward wallet (EIP-7702)."""
    owner = new_account()
    code = awkward.deploy(shop.chain, owner, manner, limit)
    shop.chain.rpc("anvil_setCode", owner.address, "0xef0100" + code[2:])
    shop.chain.fund(owner.address, usdc_atomic=MONEY)
    return owner


async def test_a_contract_pays_before_its_guest_starts(shop: Installation, starts: Starts) -> None:
    owner = new_account()
    wallet = awkward.deploy(shop.chain, owner, Manner.HONEST, usdc_atomic=MONEY)

    answer = await shop.leases.create(creation(), bought(shop, owner, wallet))

    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    assert shop.runs(answer.lease.vmid)
    assert starts.earned == [shop.price_of(creation())]
    assert answer.lease.expires_at is not None
    assert answer.order.settled_at is not None
    bought_seconds = (answer.lease.expires_at - answer.order.settled_at).total_seconds()
    assert bought_seconds == 3600


async def test_a_delegated_account_pays_before_its_guest_starts(
    shop: Installation, starts: Starts
) -> None:
    owner = delegated(shop, Manner.HONEST)

    answer = await shop.leases.create(creation(), bought(shop, owner, owner.address.lower()))

    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    assert starts.earned == [shop.price_of(creation())]


@pytest.mark.parametrize("is_delegated", [False, True])
@pytest.mark.parametrize(
    ("manner", "limit"),
    [
        (Manner.WANTS_GAS, 2_000_000),
        (Manner.ONLY_TO_NOBODY, 0),
        (Manner.ONLY_UNPAID, 0),
        (Manner.BEFORE_BLOCK, 1),
        (Manner.BURNS_GAS, 2_000_000),
        (Manner.REVERTS, 0),
    ],
)
async def test_a_liar_has_nothing_started(
    shop: Installation, starts: Starts, manner: Manner, limit: int, is_delegated: bool
) -> None:
    if is_delegated:
        owner = delegated(shop, manner, limit)
        wallet = owner.address.lower()
    else:
        owner = new_account()
        wallet = awkward.deploy(shop.chain, owner, manner, limit, usdc_atomic=MONEY)

    with pytest.raises(errors.PaymentRefused):
        await shop.leases.create(creation(), bought(shop, owner, wallet))

    await shop.settled_down()
    assert starts.earned == []
    assert shop.earned == 0
    assert shop.marked_guests == set()


async def test_who_turns_after_the_question_has_nothing_started(
    shop: Installation, starts: Starts
) -> None:
    owner = new_account()
    wallet = awkward.deploy(shop.chain, owner, Manner.HONEST, usdc_atomic=MONEY)
    purchase = bought(shop, owner, wallet)
    honest = shop.parts.settler.settle

    async def settle(*terms: Any, **named: Any) -> Any:
        await asyncio.to_thread(awkward.turn, shop.chain, owner, wallet)
        return await honest(*terms, **named)

    shop.parts.settler.settle = settle  # type: ignore[method-assign]

    with pytest.raises(errors.PaymentRefused):
        await shop.leases.create(creation(), purchase)

    await shop.settled_down()
    assert (starts.earned, shop.earned, shop.marked_guests) == ([], 0, set())


@pytest.mark.parametrize("is_delegated", [False, True])
@pytest.mark.parametrize("forged", FORGED)
async def test_a_key_opens_nothing_for_who_did_not_sign_as_the_contract(
    shop: Installation, forged: str, is_delegated: bool
) -> None:
    owner = delegated(shop, Manner.HONEST) if is_delegated else new_account()
    address = owner.address.lower()
    wallet = address if is_delegated else awkward.deploy(shop.chain, owner, Manner.HONEST)
    shop.chain.fund(wallet, usdc_atomic=MONEY)
    own = dataclasses.replace(bought(shop, owner, wallet), idempotency_key=KEY, by_key=False)
    first = await shop.leases.create(creation(), own)
    again = dataclasses.replace(bought(shop, owner, wallet), idempotency_key=KEY, by_key=False)

    for stolen in (own, again):
        payment = dataclasses.replace(stolen.payment, signature=f"0x{forged}")
        answer = await shop.leases.create(creation(), dataclasses.replace(stolen, payment=payment))
        assert answer.order.order_id == first.order.order_id
        assert answer.access_token is None
    proven = await shop.leases.create(creation(), again)

    assert first.access_token is not None
    assert proven.access_token == first.access_token
    assert shop.earned == shop.price_of(creation())


@pytest.mark.parametrize("failures", [1, 2, 3, 5, 7])
async def test_what_is_paid_and_does_not_start_is_made_anew(
    shop: Installation, failures: int
) -> None:
    owner = new_account()
    wallet = awkward.deploy(shop.chain, owner, Manner.HONEST, usdc_atomic=MONEY)
    shop.fail_call(START, times=failures)
    asked = dataclasses.replace(bought(shop, owner, wallet), wait_seconds=0)

    told = await shop.leases.create(creation(), asked)
    for _ in range(failures):
        await shop.until(lambda row: row.status is lease.LeaseStatus.STARTING)
        shop.pass_time(10)
    active = await patient(shop, lease.LeaseStatus.ACTIVE)

    assert active.lease_id == told.lease.lease_id
    assert active.vmid != told.lease.vmid
    assert shop.runs(active.vmid)
    assert shop.marked_guests == {active.vmid}
    assert shop.earned == shop.price_of(creation())


async def test_one_that_does_not_start_takes_few_vmids_from_others(
    tmp_path: Path, world: World
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    most = 10_003  # three of the one that does not start, one for the other
    async with running(url, *world, pve_vmid_min=10_000, pve_vmid_max=most) as shop:
        owner = new_account()
        wallet = awkward.deploy(shop.chain, owner, Manner.HONEST, usdc_atomic=MONEY)
        shop.fail_call(START, times=12)
        asked = dataclasses.replace(bought(shop, owner, wallet), wait_seconds=0)

        await shop.leases.create(creation(), asked)
        active = await patient(shop, lease.LeaseStatus.ACTIVE)
        wish = creation()
        other = await shop.leases.create(wish, shop.buy(shop.tenant(), wish))

        assert other.lease is not None
        assert shop.marked_guests == {active.vmid, other.lease.vmid}
        assert shop.earned == 2 * shop.price_of(creation())


async def test_one_whose_guest_cannot_be_looked_at_is_replaced_a_few_times_and_then_seldom(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unknown(row: lease.Lease) -> bool:
        raise workflow.RetryLater(f"{row.vmid} is locked")

    owner = new_account()
    wallet = awkward.deploy(shop.chain, owner, Manner.HONEST, usdc_atomic=MONEY)
    shop.fail_call(START, times=1000)
    monkeypatch.setattr(shop.parts.machines, "ensure_gone", unknown)
    await shop.leases.create(
        creation(), dataclasses.replace(bought(shop, owner, wallet), wait_seconds=0)
    )

    await shop.until_status(lease.LeaseStatus.STARTING)  # it is paid
    await pass_tries(shop, 12)
    after_hours = await shop.leases_now()
    shop.pass_time(4 * 3600)
    await pass_tries(shop, 4)

    assert len(after_hours) == 3
    assert len(await shop.leases_now()) == 4


async def pass_tries(shop: Installation, count: int) -> None:
    """Pass the longest pause between two tries, so many times."""
    for _ in range(count):
        shop.pass_time(700)
        await shop.settled_down()


async def test_a_foreign_guest_on_the_vmid_of_a_paid_lease_is_not_started(
    shop: Installation,
) -> None:
    owner = new_account()
    wallet = awkward.deploy(shop.chain, owner, Manner.HONEST, usdc_atomic=MONEY)
    honest = shop.parts.settler.settle
    replaced: list[int] = []

    async def settle(*terms: Any, **named: Any) -> Any:
        (row,) = await shop.leases_now()
        shop.proxmox.world.guests[row.vmid].config.options["tags"] = "somebody-else"
        replaced.append(row.vmid)
        return await honest(*terms, **named)

    shop.parts.settler.settle = settle  # type: ignore[method-assign]
    asked = dataclasses.replace(bought(shop, owner, wallet), wait_seconds=0)

    await shop.leases.create(creation(), asked)
    active = await patient(shop, lease.LeaseStatus.ACTIVE)

    assert not shop.runs(replaced[0])
    assert active.vmid != replaced[0]
    assert shop.runs(active.vmid)


async def test_a_guest_that_nobody_is_known_to_have_paid_for_is_stopped_and_started_again(
    shop: Installation,
) -> None:
    shop.facilitator.faults.add(
        Fault(kind=FaultKind.PENDING_LOST, endpoint=Endpoint.SETTLE, times=None)
    )
    wish = creation()
    asked = shop.buy(shop.tenant(), wish, wait_seconds=0)
    await shop.leases.create(wish, asked)
    settling = await shop.until_status(lease.LeaseStatus.SETTLING)
    ran_at_first = shop.runs(settling.vmid)

    shop.pass_time(61)
    await until(lambda: not shop.runs(settling.vmid))
    shop.facilitator.faults.clear()
    shop.pass_time(61)
    active = await patient(shop, lease.LeaseStatus.ACTIVE)

    assert ran_at_first
    assert active.vmid == settling.vmid
    assert shop.runs(active.vmid)
    (paid,) = await shop.orders_now()
    assert paid.status is order.OrderStatus.SETTLED


async def patient(shop: Installation, status: lease.LeaseStatus) -> lease.Lease:
    """Pass time until a lease has a status."""
    for _ in range(400):
        for row in await shop.leases_now():
            if row.status is status:
                return row
        shop.pass_time(2)
        await asyncio.sleep(0.02)
    raise TimeoutError(status.value)


async def until(holds: Any) -> None:
    """Wait until something holds."""
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise TimeoutError
