"""Software that was not written here uses the chain: web3, and the SDK's own facilitator signer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.support import paywall
from tests.support.chain import funded_account, new_account
from web3 import Web3
from x402 import x402FacilitatorSync
from x402.mechanisms.evm import FacilitatorWeb3Signer
from x402.mechanisms.evm.exact import register_exact_evm_facilitator
from x402.schemas import helpers

from pve402_devnet.chain import SimulatedChain, contracts

PAYEE = Web3.to_checksum_address("0x" + "ab" * 20)


def transfer_with_web3(url: str, key: Any) -> tuple[int, list[Any], int]:
    """Status, decoded Transfer events and the payee's balance."""
    web3 = Web3(Web3.HTTPProvider(url))
    token = web3.eth.contract(contracts.USDC_ADDRESS, abi=contracts.load("DevnetUsdc").abi)
    transaction = token.functions.transfer(PAYEE, 700).build_transaction(
        {"from": key.address, "nonce": web3.eth.get_transaction_count(key.address)}
    )
    done = web3.eth.send_raw_transaction(key.sign_transaction(transaction).raw_transaction)
    receipt = web3.eth.wait_for_transaction_receipt(done, timeout=20)
    events = token.events.Transfer().process_receipt(receipt)
    found = token.events.Transfer().get_logs(from_block=receipt["blockNumber"])
    assert [event["args"] for event in events] == [event["args"] for event in found]
    balance = token.functions.balanceOf(PAYEE).call()
    return receipt["status"], events, balance


async def test_web3_sends_a_transfer_with_its_own_estimates(chain: SimulatedChain) -> None:
    key = funded_account(chain)
    chain.fund(key.address, eth=1)

    status, events, balance = await asyncio.to_thread(transfer_with_web3, chain.url, key)

    assert (status, balance) == (1, 700)
    assert dict(events[0]["args"]) == {"from": key.address, "to": PAYEE, "value": 700}


@pytest.mark.parametrize("version", [1, 2])
async def test_the_sdks_own_facilitator_settles_here(chain: SimulatedChain, version: int) -> None:
    gas = new_account()
    chain.fund(gas.address, eth=1)
    payment = paywall.sign_payment(funded_account(chain), PAYEE, 700, version=version)
    signer = FacilitatorWeb3Signer(private_key=gas.key.hex(), rpc_url=chain.url)
    core = register_exact_evm_facilitator(x402FacilitatorSync(), signer, "eip155:84532")
    payload = helpers.parse_payment_payload(payment.body["paymentPayload"])
    wanted = helpers.parse_payment_requirements(version, payment.body["paymentRequirements"])

    verified = await asyncio.to_thread(core.verify, payload, wanted)
    settled = await asyncio.to_thread(core.settle, payload, wanted)

    assert (verified.is_valid, settled.success, settled.error_reason) == (True, True, None)
    assert chain.usdc_balance(PAYEE) == 700
