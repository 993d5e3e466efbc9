"""Settlements when blocks are late, transactions get lost, and blocks are taken back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support import paywall
from tests.support.chain import funded_account, new_account

from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import FacilitatorOptions, SimulatedFacilitator

PAYEE = "0x" + "ab" * 20


@pytest.fixture
async def hasty(chain: SimulatedChain) -> AsyncIterator[SimulatedFacilitator]:
    """A facilitator that does not wait for blocks."""
    gas = new_account()
    chain.fund(gas.address, eth=1)
    options = FacilitatorOptions(
        call_node=chain.rpc, private_key=gas.key.hex(), receipt_timeout_seconds=0.05
    )
    async with SimulatedFacilitator(options) as running:
        yield running


async def waiting_transactions(chain: SimulatedChain) -> None:
    for _ in range(2000):
        if len(chain.chain.pool):
            return
        await asyncio.sleep(0.01)
    pytest.fail("nothing was broadcast")


async def test_it_waits_for_the_block(
    chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    payment = paywall.sign_payment(funded_account(chain), PAYEE, 700)
    chain.rpc("evm_setAutomine", False)
    asking = asyncio.create_task(paywall.ask(facilitator.url, "settle", payment))
    await waiting_transactions(chain)
    assert not asking.done()

    chain.rpc("evm_mine")

    assert (await asking)["success"]


async def test_a_late_block_is_pending_and_asking_again_settles(
    chain: SimulatedChain, hasty: SimulatedFacilitator
) -> None:
    payment = paywall.sign_payment(funded_account(chain), PAYEE, 700)
    chain.rpc("evm_setAutomine", False)
    first = await paywall.ask(hasty.url, "settle", payment)

    chain.rpc("evm_mine")
    second = await paywall.ask(hasty.url, "settle", payment)

    assert (first["success"], first["errorReason"]) == (False, "settlement_pending")
    assert (second["success"], second["transaction"]) == (True, first["transaction"])
    assert chain.usdc_balance(PAYEE) == 700


async def test_a_payment_taken_back_by_a_reorganisation_settles_again(
    chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    payment = paywall.sign_payment(funded_account(chain), PAYEE, 700)
    first = await paywall.ask(facilitator.url, "settle", payment)
    chain.rpc("devnet_reorg", 1)
    assert chain.usdc_balance(PAYEE) == 0

    second = await paywall.ask(facilitator.url, "settle", payment)

    assert (first["success"], second["success"]) == (True, True)
    assert chain.usdc_balance(PAYEE) == 700


async def test_stopping_does_not_wait_for_a_block(
    chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    payment = paywall.sign_payment(funded_account(chain), PAYEE, 700)
    chain.rpc("evm_setAutomine", False)
    asking = asyncio.create_task(paywall.ask(facilitator.url, "settle", payment))
    await waiting_transactions(chain)

    await facilitator.stop()

    assert (await asking)["errorReason"] == "settlement_pending"
