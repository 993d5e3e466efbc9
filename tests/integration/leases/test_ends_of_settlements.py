"""Each end of a settlement for each kind of payer: who gets what, and who risks what.

The rows of the table in docs/explanation/money.md are the cases.
"""

import asyncio
import dataclasses
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from tests.support import awkward, payments
from tests.support.chain import new_account
from tests.support.contract_payers import MONEY, bought
from tests.support.installation import NETWORK, Installation, World, creation, running
from tests.support.token import ContractCaller, call_data

from pve402.domain import errors, lease, order
from pve402.leases import service
from pve402.payments.facilitators import Outcome, Settlement, Verification
from pve402.payments.schemes import known
from pve402_devnet.chain import contracts
from pve402_devnet.facilitator import Endpoint, Fault, FaultKind

Pay = Callable[[Installation, int], service.Purchase]
SALT = b"\x07" * 32


@pytest.fixture
async def shop(tmp_path: Path, world: World) -> AsyncIterator[Installation]:
    """A running installation."""
    async with running(f"sqlite:///{tmp_path}/db.sqlite3", *world) as made:
        yield made


def _key(shop: Installation, money: int) -> service.Purchase:
    return shop.buy(shop.tenant(money), creation())


def _contract(shop: Installation, money: int) -> service.Purchase:
    owner = new_account()
    wallet = awkward.deploy(shop.chain, owner, contracts.Manner.HONEST, usdc_atomic=money)
    return dataclasses.replace(bought(shop, owner, wallet), payer_has_code=True)


def _wrapped(shop: Installation, money: int) -> service.Purchase:
    plain = _contract(shop, money)
    wrapper = "0x" + payments.wrapped(plain.payment.signature_bytes).hex()
    signed = dataclasses.replace(plain.payment, signature=wrapper)
    scheme = known.scheme_of(signed)
    standing = scheme.check_signature(signed, plain.requirements, payer_has_code=True)
    sent = scheme.as_sent(signed, standing, payer_has_code=True)
    return dataclasses.replace(plain, payment=sent)


def _undeployed(shop: Installation, money: int) -> service.Purchase:
    owner, factory = new_account(), contracts.WALLET_FACTORY_ADDRESS
    caller = ContractCaller(chain=shop.chain, address=factory)
    wallet = caller.read("walletAddress(address,bytes32)", owner.address, SALT, returns="address")
    shop.chain.fund(wallet, usdc_atomic=money)
    plain = bought(shop, owner, str(wallet).lower())
    create = call_data("createWallet(address,bytes32)", (owner.address, SALT))
    parts = encode(["address", "bytes", "bytes"], [factory, create, plain.payment.signature_bytes])
    signature = "0x" + (parts + payments.ERC6492_MAGIC).hex()
    signed = dataclasses.replace(plain.payment, signature=signature)
    return dataclasses.replace(plain, payment=signed, payer_has_code=False)


def _delegated(shop: Installation, money: int) -> service.Purchase:
    owner = new_account()
    code = awkward.deploy(shop.chain, owner, contracts.Manner.HONEST)
    shop.chain.rpc("anvil_setCode", owner.address, "0xef0100" + code[2:])
    shop.chain.fund(owner.address, usdc_atomic=money)
    purchase = bought(shop, owner, owner.address.lower())
    return dataclasses.replace(purchase, payer_has_code=True)


PAYERS: dict[str, Pay] = {
    "EOA": _key,
    "EIP-1271": _contract,
    "ERC-6492, deployed": _wrapped,
    "ERC-6492, not deployed": _undeployed,
    "EIP-7702": _delegated,
}


@pytest.fixture(params=PAYERS)
def payer(request: pytest.FixtureRequest) -> str:
    """A kind of payer."""
    return str(request.param)


@pytest.fixture
def _had_money(shop: Installation) -> None:
    """The facilitator is asked while a payer still has the money that it lacks afterwards."""

    async def verify(payment: Any, _: Any) -> Verification:
        return Verification(valid=True, payer=payment.payer)

    shop.parts.settler.facilitator_of(NETWORK).verify = verify  # type: ignore[method-assign,assignment]


@pytest.fixture
def starts(shop: Installation) -> list[int]:
    """How much had been earned each time a guest was started."""
    earned: list[int] = []
    honest = shop.parts.machines.ensure_running

    async def ensure_running(row: lease.Lease, **named: Any) -> None:
        earned.append(shop.earned)
        await honest(row, **named)

    shop.parts.machines.ensure_running = ensure_running  # type: ignore[method-assign]
    return earned


async def test_settled(shop: Installation, payer: str, starts: list[int]) -> None:
    answer = await shop.leases.create(creation(), PAYERS[payer](shop, MONEY))

    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    assert_delivered(shop, answer.lease, payer, starts)


@pytest.mark.usefixtures("_had_money")
async def test_refused_before_broadcast(shop: Installation, payer: str, starts: list[int]) -> None:
    with pytest.raises(errors.PaymentRefused):
        await shop.leases.create(creation(), PAYERS[payer](shop, 1))

    await assert_nothing_left(shop, payer, starts)


@pytest.mark.usefixtures("_had_money")
async def test_mined_and_reverted(shop: Installation, payer: str, starts: list[int]) -> None:
    purchase = PAYERS[payer](shop, 1)
    reverted: list[str] = []

    async def settle(payment: Any, _: Any) -> Settlement:
        if not reverted:
            reverted.append(await asyncio.to_thread(mined_in_vain, shop, payment))
        return Settlement.of(payment, Outcome.REFUSED, transaction=reverted[0], reason="reverted")

    shop.parts.settler.facilitator_of(NETWORK).settle = settle  # type: ignore[method-assign,assignment]
    with pytest.raises(errors.PaymentRefused):
        await shop.leases.create(creation(), purchase)

    assert len(reverted) == 1
    await assert_nothing_left(shop, payer, starts)


async def test_dropped(shop: Installation, payer: str, starts: list[int]) -> None:
    lost = Fault(kind=FaultKind.PENDING_LOST, endpoint=Endpoint.SETTLE, times=1)
    shop.facilitator.faults.add(lost)

    purchase = dataclasses.replace(PAYERS[payer](shop, MONEY), wait_seconds=0.0)
    await shop.leases.create(creation(), purchase)

    assert_delivered(shop, await active(shop), payer, starts)
    assert len(shop.facilitator.calls_to(Endpoint.SETTLE)) == 2


async def test_replaced(shop: Installation, payer: str, starts: list[int]) -> None:
    facilitator = shop.parts.settler.facilitator_of(NETWORK)
    honest, named = facilitator.settle, "0x" + secrets.token_hex(32)

    async def settle(payment: Any, terms: Any) -> Settlement:
        done = await honest(payment, terms)
        return Settlement.of(payment, done.outcome, transaction=named)

    facilitator.settle = settle  # type: ignore[method-assign,assignment]
    answer = await shop.leases.create(creation(), PAYERS[payer](shop, MONEY))

    assert_delivered(shop, answer.lease, payer, starts)
    assert answer.order.transaction not in (None, named)


async def test_unknown(shop: Installation, payer: str, starts: list[int]) -> None:
    lost = Fault(kind=FaultKind.PENDING_LOST, endpoint=Endpoint.SETTLE, times=None)
    shop.facilitator.faults.add(lost)
    purchase = dataclasses.replace(PAYERS[payer](shop, MONEY), wait_seconds=0.0)
    await shop.leases.create(creation(), purchase)
    settling = await shop.until_status(lease.LeaseStatus.SETTLING)
    ran = shop.runs(settling.vmid)

    shop.pass_time(61)
    for _ in range(1000):  # a guest that nobody is known to have paid for is stopped by now
        if not shop.runs(settling.vmid):
            break
        await asyncio.sleep(0.01)
    (unknown,) = await shop.orders_now()

    assert ran is (payer == "EOA")
    assert (shop.runs(settling.vmid), shop.earned) == (False, 0)
    assert unknown.status is order.OrderStatus.SETTLING
    shop.facilitator.faults.clear()
    assert_delivered(shop, await active(shop), payer, starts)


def assert_delivered(shop: Installation, row: lease.Lease, payer: str, starts: list[int]) -> None:
    """The tenant has a container, paid once; only an EOA's was started before."""
    price = shop.price_of(creation())
    assert (shop.runs(row.vmid), shop.earned) == (True, price)
    assert starts[0] == (0 if payer == "EOA" else price)


async def assert_nothing_left(shop: Installation, payer: str, starts: list[int]) -> None:
    """Nothing was charged and nothing stands; only an EOA's guest was ever started."""
    await shop.settled_down()
    assert (shop.earned, shop.marked_guests) == (0, set())
    assert bool(starts) is (payer == "EOA")


async def active(shop: Installation) -> lease.Lease:
    """Pass time until the lease is handed over."""
    for _ in range(400):
        rows: list[lease.Lease] = await shop.leases_now()
        found = [row for row in rows if row.status is lease.LeaseStatus.ACTIVE]
        if found:
            return found[0]
        shop.pass_time(2)
        await asyncio.sleep(0.02)
    raise TimeoutError("not handed over")


def mined_in_vain(shop: Installation, payment: Any) -> str:
    """Put a payment on chain that its payer has no money for; return the transaction."""
    transfer, sender = known.scheme_of(payment).transfer(payment), new_account()
    assert not awkward.send(
        shop.chain,
        sender,
        transfer.to,
        bytes.fromhex(transfer.data.removeprefix("0x")),
        gas=500_000,
    )
    block = shop.chain.rpc("eth_getBlockByNumber", "latest", False)
    return str(block["transactions"][-1])
