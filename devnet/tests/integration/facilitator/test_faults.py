"""What a facilitator does when it is told to misbehave: the answer, and whether the money moved."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from tests.support import paywall
from tests.support.chain import funded_account
from tests.support.token import ContractCaller

from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import Endpoint, Fault, FaultKind, SimulatedFacilitator

PAYEE = "0x" + "ab" * 20
PATIENCE = aiohttp.ClientTimeout(total=20)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Status and text of a call."""

    status: int
    text: str

    @property
    def body(self) -> Any:
        return json.loads(self.text)


async def call(url: str, endpoint: str, payment: paywall.Payment) -> Answer:
    async with (
        aiohttp.ClientSession(timeout=PATIENCE) as session,
        session.post(f"{url}/{endpoint}", json=payment.body) as response,
    ):
        return Answer(status=response.status, text=await response.text())


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it never came to that")


@pytest.fixture
def payment(chain: SimulatedChain) -> paywall.Payment:
    return paywall.sign_payment(funded_account(chain), PAYEE, 700)


@pytest.mark.parametrize(
    ("kind", "status", "moved"),
    [
        (FaultKind.UNAVAILABLE, 503, 0),
        (FaultKind.ERROR_AFTER_TRANSFER, 500, 700),
        (FaultKind.MALFORMED, 200, 700),
        (FaultKind.WRONG_SHAPE, 200, 700),
        (FaultKind.NESTED, 200, 700),
        (FaultKind.HUGE, 200, 700),
        (FaultKind.LYING_YES, 200, 0),
        (FaultKind.BORROWED_YES, 200, 0),
        (FaultKind.LYING_NO, 200, 700),
        (FaultKind.WRONG_PAYER, 200, 700),
        (FaultKind.WRONG_NETWORK, 200, 700),
        (FaultKind.PENDING, 200, 700),
        (FaultKind.PENDING_500, 500, 700),
        (FaultKind.PENDING_LOST, 200, 0),
    ],
)
async def test_each_fault_moves_money_or_not_as_its_name_says(
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    payment: paywall.Payment,
    kind: FaultKind,
    status: int,
    moved: int,
) -> None:
    facilitator.faults.add(Fault(kind=kind))

    answer = await call(facilitator.url, "settle", payment)

    assert (answer.status, chain.usdc_balance(PAYEE)) == (status, moved)
    assert ContractCaller(chain=chain).is_spent(payment.payer, payment.nonce) == bool(moved)


@pytest.mark.parametrize(
    ("kind", "field", "told"),
    [
        (FaultKind.LYING_YES, "success", True),
        (FaultKind.LYING_NO, "success", False),
        (FaultKind.WRONG_PAYER, "payer", "0x00000000000000000000000000000000DeaDBeef"),
        (FaultKind.WRONG_NETWORK, "network", "eip155:1"),
        (FaultKind.PENDING, "errorReason", "settlement_pending"),
        (FaultKind.PENDING_500, "errorReason", "settlement_pending"),
        (FaultKind.PENDING_LOST, "errorReason", "settlement_pending"),
        (FaultKind.WRONG_SHAPE, "ok", "certainly"),
    ],
)
async def test_each_lie_is_told(
    facilitator: SimulatedFacilitator,
    payment: paywall.Payment,
    kind: FaultKind,
    field: str,
    told: Any,
) -> None:
    facilitator.faults.add(Fault(kind=kind))

    answer = await call(facilitator.url, "settle", payment)

    assert answer.body[field] == told


async def test_malformed_json_is_malformed(
    facilitator: SimulatedFacilitator, payment: paywall.Payment
) -> None:
    facilitator.faults.add(Fault(kind=FaultKind.MALFORMED))

    answer = await call(facilitator.url, "settle", payment)

    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.text)


async def test_a_borrowed_transaction_is_somebody_elses(
    chain: SimulatedChain, facilitator: SimulatedFacilitator, payment: paywall.Payment
) -> None:
    earlier = paywall.sign_payment(funded_account(chain), PAYEE, 5)
    real = await call(facilitator.url, "settle", earlier)
    facilitator.faults.add(Fault(kind=FaultKind.BORROWED_YES))

    answer = await call(facilitator.url, "settle", payment)

    assert answer.body["transaction"] == real.body["transaction"]
    assert chain.usdc_balance(PAYEE) == 5


@pytest.mark.parametrize("kind", [FaultKind.PENDING, FaultKind.PENDING_500])
async def test_asking_again_after_pending_gives_the_truth(
    facilitator: SimulatedFacilitator, payment: paywall.Payment, kind: FaultKind
) -> None:
    facilitator.faults.add(Fault(kind=kind, times=1))

    first = await call(facilitator.url, "settle", payment)
    second = await call(facilitator.url, "settle", payment)

    assert (first.body["success"], second.body["success"]) == (False, True)
    assert first.body["transaction"] == second.body["transaction"]


async def test_a_slow_facilitator_answers_in_the_end(
    chain: SimulatedChain, facilitator: SimulatedFacilitator, payment: paywall.Payment
) -> None:
    facilitator.faults.add(Fault(kind=FaultKind.SLOW, delay_seconds=0.05))

    answer = await call(facilitator.url, "settle", payment)

    assert (answer.body["success"], chain.usdc_balance(PAYEE)) == (True, 700)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (FaultKind.UNAVAILABLE, (503, None)),
        (FaultKind.LYING_NO, (200, False)),
        (FaultKind.LYING_YES, (200, True)),
    ],
)
async def test_verification_can_fail_too(
    facilitator: SimulatedFacilitator,
    payment: paywall.Payment,
    kind: FaultKind,
    expected: tuple[int, bool | None],
) -> None:
    facilitator.faults.add(Fault(kind=kind, endpoint=Endpoint.VERIFY))

    answer = await call(facilitator.url, "verify", payment)

    valid = answer.body.get("isValid") if answer.status == 200 else None
    assert (answer.status, valid) == expected


async def test_a_fault_ends_after_its_times(
    facilitator: SimulatedFacilitator, payment: paywall.Payment
) -> None:
    facilitator.faults.add(Fault(kind=FaultKind.UNAVAILABLE, times=2))

    statuses = [(await call(facilitator.url, "settle", payment)).status for _ in range(3)]

    assert statuses == [503, 503, 200]
    assert facilitator.faults.planned() == []


async def test_faults_are_switched_over_http_and_calls_are_shown(
    facilitator: SimulatedFacilitator, payment: paywall.Payment
) -> None:
    control = f"{facilitator.url}/devnet/faults"
    async with aiohttp.ClientSession() as session:
        added = await session.post(control, json={"kind": "unavailable", "times": 3})
        unknown = await session.post(control, json={"kind": "polite"})
        failed = await call(facilitator.url, "settle", payment)
        await session.delete(control)
    worked = await call(facilitator.url, "settle", payment)

    assert (added.status, unknown.status, failed.status, worked.status) == (201, 400, 503, 200)
    shown = await paywall.get_json(f"{facilitator.url}/devnet/calls")
    assert [item["fault"] for item in shown] == ["unavailable", None]
    assert await paywall.get_json(control) == []


async def test_no_signature_is_kept(
    facilitator: SimulatedFacilitator, payment: paywall.Payment
) -> None:
    await call(facilitator.url, "settle", payment)

    signature = payment.body["paymentPayload"]["payload"]["signature"]
    assert signature not in repr(facilitator.calls)
    assert facilitator.options.private_key not in repr(facilitator.options)


@pytest.mark.parametrize("endpoint", [Endpoint.VERIFY, Endpoint.SETTLE])
@pytest.mark.parametrize(
    ("kind", "moved"), [(FaultKind.SILENT, 0), (FaultKind.SILENT_AFTER_TRANSFER, 700)]
)
async def test_a_silent_facilitator_answers_nobody_until_it_stops(
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    payment: paywall.Payment,
    kind: FaultKind,
    moved: int,
    endpoint: Endpoint,
) -> None:
    expected = moved if endpoint is Endpoint.SETTLE else 0
    facilitator.faults.add(Fault(kind=kind, endpoint=endpoint, times=1))
    waiting = asyncio.create_task(call(facilitator.url, endpoint, payment))

    await until(lambda: not facilitator.faults.planned() and chain.usdc_balance(PAYEE) == expected)
    assert not waiting.done()
    await facilitator.stop()

    assert (await waiting).status == 503


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[" * 100_000,
        b"{}",
        b'{"paymentPayload": {"x402Version": 2}, "paymentRequirements": 5}',
        b'{"paymentPayload": [], "paymentRequirements": []}',
    ],
    ids=["empty", "list", "deep", "nothing", "half", "lists"],
)
@pytest.mark.parametrize("endpoint", ["verify", "settle"])
async def test_nonsense_is_refused(
    facilitator: SimulatedFacilitator, endpoint: str, body: bytes
) -> None:
    headers = {"Content-Type": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{facilitator.url}/{endpoint}", data=body, headers=headers) as response,
    ):
        assert response.status == 400
