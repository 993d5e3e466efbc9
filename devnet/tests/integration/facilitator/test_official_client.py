"""The official Python client buys a page; our facilitator moves the money."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import paywall
from tests.support.anvil import Anvil
from tests.support.chain import funded_account, new_account

from pve402_devnet.chain import SimulatedChain, contracts
from pve402_devnet.facilitator import Endpoint, FacilitatorOptions, SimulatedFacilitator

PAYEE = "0x" + "ab" * 20


@pytest.mark.parametrize("version", [1, 2])
async def test_a_page_is_bought(
    chain: SimulatedChain, facilitator: SimulatedFacilitator, version: int
) -> None:
    tenant = funded_account(chain, usdc_atomic=50_000)

    async with paywall.shop(facilitator.url, PAYEE, 20_000, version=version) as url:
        status, text, receipt = await paywall.buy(url, tenant)

    assert (status, text, receipt["success"]) == (200, "paid content", True)
    assert chain.rpc("eth_getTransactionReceipt", receipt["transaction"])["status"] == "0x1"
    assert (chain.usdc_balance(tenant.address), chain.usdc_balance(PAYEE)) == (30_000, 20_000)
    assert [call.endpoint for call in facilitator.calls] == [Endpoint.VERIFY, Endpoint.SETTLE]


@pytest.mark.parametrize("version", [1, 2])
async def test_a_page_is_bought_on_a_real_node(anvil: Anvil, version: int) -> None:
    tenant, gas = new_account(), new_account()
    anvil.fund(tenant.address, usdc_atomic=50_000)
    anvil.fund(gas.address, eth=1)
    options = FacilitatorOptions(call_node=anvil.node, private_key=gas.key.hex())

    async with (
        SimulatedFacilitator(options) as facilitator,
        paywall.shop(facilitator.url, PAYEE, 20_000, version=version) as url,
    ):
        status, _, receipt = await paywall.buy(url, tenant)

    assert (status, receipt["success"]) == (200, True)
    assert (anvil.usdc_balance(tenant.address), anvil.usdc_balance(PAYEE)) == (30_000, 20_000)


@pytest.mark.parametrize("version", [1, 2])
async def test_a_payment_settles_once(
    chain: SimulatedChain, facilitator: SimulatedFacilitator, version: int
) -> None:
    tenant = funded_account(chain, usdc_atomic=50_000)
    payment = paywall.sign_payment(tenant, PAYEE, 1000, version=version)

    answers = await asyncio.gather(
        *(paywall.ask(facilitator.url, "settle", payment) for _ in range(5))
    )

    assert sorted(answer["success"] for answer in answers) == [False] * 4 + [True]
    assert chain.usdc_balance(PAYEE) == 1000


async def test_many_settle_at_once_without_a_lost_nonce(
    chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    tenant = funded_account(chain, usdc_atomic=50_000)
    payments = [paywall.sign_payment(tenant, PAYEE, 10) for _ in range(20)]

    answers = await asyncio.gather(
        *(paywall.ask(facilitator.url, "settle", payment) for payment in payments)
    )

    assert all(answer["success"] for answer in answers)
    assert chain.usdc_balance(PAYEE) == 200


@pytest.mark.parametrize("version", [1, 2])
async def test_an_empty_wallet_is_refused_with_the_reason(
    chain: SimulatedChain, facilitator: SimulatedFacilitator, version: int
) -> None:
    payment = paywall.sign_payment(new_account(), PAYEE, 1000, version=version)

    verified = await paywall.ask(facilitator.url, "verify", payment)
    settled = await paywall.ask(facilitator.url, "settle", payment)

    reason = "invalid_exact_evm_insufficient_balance"
    assert (verified["isValid"], verified["invalidReason"]) == (False, reason)
    assert (settled["success"], settled["errorReason"]) == (False, reason)


async def test_a_changed_amount_is_refused(
    chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    payment = paywall.sign_payment(funded_account(chain), PAYEE, 1000)
    payment.body["paymentRequirements"]["amount"] = "999"

    verified = await paywall.ask(facilitator.url, "verify", payment)

    assert not verified["isValid"]


async def test_a_network_it_does_not_serve_is_refused(
    chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    payment = paywall.sign_payment(funded_account(chain), PAYEE, 1000)
    payment.body["paymentRequirements"]["network"] = "solana:mainnet"
    payment.body["paymentPayload"]["accepted"]["network"] = "solana:mainnet"

    verified = await paywall.ask(facilitator.url, "verify", payment)
    settled = await paywall.ask(facilitator.url, "settle", payment)

    assert verified == {"isValid": False, "invalidReason": "unsupported_scheme"}
    assert (settled["success"], settled["transaction"]) == (False, "")


async def test_it_lives_on_after_a_transaction_that_was_lost(
    chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    tenant = funded_account(chain, usdc_atomic=50_000)
    first = paywall.sign_payment(tenant, PAYEE, 1000)
    chain.rpc("anvil_setBalance", facilitator.address, "0x0")
    refused = await paywall.ask(facilitator.url, "settle", first)
    chain.fund(facilitator.address, eth=1)

    settled = await paywall.ask(facilitator.url, "settle", first)

    assert (refused["success"], settled["success"]) == (False, True)


async def test_a_contract_wallet_pays_and_is_deployed_on_the_way(
    chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    owner = new_account()
    payment, wallet = paywall.sign_as_contract_wallet(chain, owner, PAYEE, 700)
    chain.fund(wallet, usdc_atomic=1000)
    assert chain.rpc("eth_getCode", wallet, "latest") == "0x"

    verified = await paywall.ask(facilitator.url, "verify", payment)
    settled = await paywall.ask(facilitator.url, "settle", payment)

    assert (verified["isValid"], settled["success"]) == (True, True), (verified, settled)
    assert (chain.usdc_balance(wallet), chain.usdc_balance(PAYEE)) == (300, 700)
    assert chain.rpc("eth_getCode", wallet, "latest") != "0x"


async def test_it_says_what_it_supports(facilitator: SimulatedFacilitator) -> None:
    supported = await paywall.get_json(f"{facilitator.url}/supported")

    kinds = {(kind["x402Version"], kind["network"]) for kind in supported["kinds"]}
    assert kinds == {(2, "eip155:84532"), (1, "base-sepolia")}
    assert supported["signers"] == {"eip155:*": [facilitator.address]}
    assert contracts.USDC_ADDRESS == "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
