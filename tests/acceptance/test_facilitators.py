"""A whole lease through facilitators that fail, lie or say nothing: nobody loses anything."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from tests.support import programs, project, shop
from tests.support.chain import chain, facilitator  # noqa: F401
from tests.support.shop import Shop

from pve402.domain.order import OrderStatus
from pve402_devnet.facilitator import Endpoint, Fault, FaultKind

SOLD, REFUSED = OrderStatus.SETTLED, OrderStatus.REFUSED
NO_TRANSFER = {
    FaultKind.UNAVAILABLE,
    FaultKind.SILENT,
    FaultKind.LYING_YES,
    FaultKind.BORROWED_YES,
    FaultKind.PENDING_LOST,
}
HOSTILE = project.ROOT / ".venv-conformance/bin/hostile-facilitator"
HOSTILE_MODES = (
    *("clean", "slow_answer", "declared_safe", "accept_then_timeout"),
    *("5xx_after_settle", "double_402", "reconcile_unavailable"),
)

IMPATIENT = {"patience_seconds": 3, "pve402_create_wait_seconds": 4}


@pytest.fixture
async def open_shop(
    chain: Any,  # noqa: F811
    facilitator: Any,  # noqa: F811
    tmp_path: Path,
    kind: FaultKind,
) -> AsyncIterator[Shop]:
    """A service that settles through the facilitator; it waits less where nothing would come."""
    is_silent = kind in {FaultKind.SILENT, FaultKind.SILENT_AFTER_TRANSFER}
    waits: dict[str, Any] = {
        "patience_seconds": 2 if is_silent else 20,
        "pve402_create_wait_seconds": 4 if kind in NO_TRANSFER else 30,
    }
    async with shop.running(tmp_path, chain, facilitator, **waits) as made:
        yield made


@pytest.mark.parametrize("kind", list(FaultKind), ids=lambda kind: kind.value)
async def test_a_fault_that_passes_ends_in_a_lease_for_its_price(open_shop: Shop, kind: FaultKind):
    open_shop.inside.facilitator.faults.add(Fault(kind=kind, times=1, delay_seconds=0.2))
    signed = await open_shop.sign()

    first = await open_shop.pay(signed)
    balance = await open_shop.until_over()
    again = await open_shop.pay(signed)

    assert first.status in {200, 503}
    assert (balance.order, balance.nobody_lost) == (SOLD, True), balance
    assert (again.status, again.json()["accessToken"]) == (200, None)
    assert (await open_shop.balance()).paid == shop.PRICE_ATOMIC


@pytest.mark.parametrize("kind", list(FaultKind), ids=lambda kind: kind.value)
async def test_a_fault_that_stays_sells_what_was_paid_for_and_nothing_else(
    open_shop: Shop, kind: FaultKind
):
    open_shop.inside.facilitator.faults.add(Fault(kind=kind, delay_seconds=0.2))
    signed = await open_shop.sign()

    reply = await open_shop.pay(signed)
    open_shop.pass_the_window()
    balance = await open_shop.until_over()

    expected = (REFUSED, 503) if kind in NO_TRANSFER else (SOLD, 200)
    assert (balance.order, reply.status) == expected, reply.body
    assert balance.nobody_lost, balance
    assert reply.status == 200 or int(reply.headers["retry-after"]) > 0


@pytest.mark.parametrize("kind", list(FaultKind), ids=lambda kind: kind.value)
async def test_before_a_payment_is_verified_nothing_is_claimed(open_shop: Shop, kind: FaultKind):
    fault = Fault(kind=kind, endpoint=Endpoint.VERIFY, times=1, delay_seconds=0.2)
    open_shop.inside.facilitator.faults.add(fault)
    signed = await open_shop.sign()

    first = await open_shop.pay(signed)
    balance = await open_shop.balance()
    again = await open_shop.pay(signed)

    assert first.status in {200, 402, 503}
    assert balance.nobody_lost, balance
    assert (balance.order is SOLD) == (first.status == 200)
    assert again.status == 200
    assert (await open_shop.until_over()).nobody_lost


async def test_with_our_own_key_there_is_no_facilitator_to_trust(
    chain: Any,  # noqa: F811
    facilitator: Any,  # noqa: F811
    tmp_path: Path,
):
    key = Account.create()
    chain.fund(key.address, eth=1)
    own = {"facilitator_url": None, "facilitator_private_key": key.key.to_0x_hex()}

    async with shop.running(tmp_path, chain, facilitator, **own) as made:
        reply = await made.pay(await made.sign())
        balance = await made.until_over()

    assert (reply.status, balance.order, balance.nobody_lost) == (200, SOLD, True)
    assert len(facilitator.calls) == 0


@pytest.mark.parametrize("mode", HOSTILE_MODES)
async def test_the_hostile_facilitator_of_others_sells_nothing_without_a_transfer(
    chain: Any,  # noqa: F811
    facilitator: Any,  # noqa: F811
    tmp_path: Path,
    mode: str,
):
    with programs.running([HOSTILE, "serve", "--mode", mode], is_ready=_has_url) as lines:
        hostile: dict[str, Any] = {"facilitator_url": _url(lines), **IMPATIENT}
        async with shop.running(tmp_path, chain, facilitator, **hostile) as made:
            reply = await made.pay(await made.sign())
            made.pass_the_window()
            balance = await made.until_over()

    assert reply.status == 503
    assert (balance.order, balance.nobody_lost) == (REFUSED, True), balance


async def test_whoever_trusts_a_facilitator_bears_its_lies(
    chain: Any,  # noqa: F811
    facilitator: Any,  # noqa: F811
    tmp_path: Path,
):
    facilitator.faults.add(Fault(kind=FaultKind.LYING_YES))

    async with shop.running(tmp_path, chain, facilitator, trust_facilitator=True) as made:
        reply = await made.pay(await made.sign())
        balance = await made.balance()

    assert (reply.status, balance.order, balance.earned) == (200, SOLD, 0)


def _has_url(lines: list[str]) -> bool:
    return any("http://" in line for line in lines)


def _url(lines: list[str]) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+", " ".join(lines))
    assert found is not None
    return found[0]
