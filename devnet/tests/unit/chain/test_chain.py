"""Mining, nonces, time and going back."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.support.chain import authorization, funded_account, new_account, sign
from tests.support.token import ContractCaller
from tests.support.transactions import GWEI, PAYEE, raw

from pve402_devnet.chain import ChainOptions, SimulatedChain, jsonrpc
from pve402_devnet.chain.chain import Chain

ETH = 10**18
RETURN_42 = bytes.fromhex("600a600c600039600a6000f3602a60005260206000f3")


@pytest.fixture
def sender(quiet_chain: SimulatedChain) -> LocalAccount:
    account = new_account()
    quiet_chain.fund(account.address, eth=1)
    return account


def send(chain: SimulatedChain, account: LocalAccount, **fields: Any) -> str:
    return str(chain.rpc("eth_sendRawTransaction", raw(account, **fields)))


def height(chain: SimulatedChain) -> int:
    return int(chain.rpc("eth_blockNumber"), 16)


def nonces(chain: SimulatedChain, account: LocalAccount) -> tuple[int, int]:
    latest = chain.rpc("eth_getTransactionCount", account.address, "latest")
    pending = chain.rpc("eth_getTransactionCount", account.address, "pending")
    return int(latest, 16), int(pending, 16)


def test_a_transaction_is_mined_when_its_broadcast_returns(
    quiet_chain: SimulatedChain, sender: LocalAccount
) -> None:
    done = send(quiet_chain, sender)

    receipt = quiet_chain.rpc("eth_getTransactionReceipt", done)
    assert (receipt["status"], receipt["from"]) == ("0x1", sender.address.lower())
    assert int(quiet_chain.rpc("eth_getBalance", PAYEE), 16) == 1


def test_the_sender_pays_gas_at_the_effective_price(
    quiet_chain: SimulatedChain, sender: LocalAccount
) -> None:
    done = send(quiet_chain, sender, maxPriorityFeePerGas=5)

    price = quiet_chain.options.base_fee + 5
    receipt = quiet_chain.rpc("eth_getTransactionReceipt", done)
    assert int(receipt["effectiveGasPrice"], 16) == price
    balance = int(quiet_chain.rpc("eth_getBalance", sender.address), 16)
    assert balance == ETH - 1 - 21_000 * price


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"nonce": 0}, "nonce too low"),
        ({"nonce": 1, "chainId": 1}, "invalid chain id"),
        ({"nonce": 1, "gas": 20_999}, "intrinsic gas too low"),
        ({"nonce": 1, "gas": 30_000_001}, "exceeds block gas limit"),
        ({"nonce": 1, "value": 2 * ETH}, "insufficient funds"),
        ({"nonce": 1, "maxFeePerGas": 5, "maxPriorityFeePerGas": 5}, "less than block base fee"),
        ({"nonce": 1, "maxPriorityFeePerGas": 3 * GWEI}, "higher than max fee"),
    ],
)
def test_what_the_pool_refuses(
    quiet_chain: SimulatedChain, sender: LocalAccount, fields: dict[str, Any], reason: str
) -> None:
    send(quiet_chain, sender)

    with pytest.raises(jsonrpc.RpcError, match=reason):
        send(quiet_chain, sender, **fields)


def test_a_nonce_gap_waits_until_it_is_closed(
    quiet_chain: SimulatedChain, sender: LocalAccount
) -> None:
    later = send(quiet_chain, sender, nonce=1)
    assert quiet_chain.rpc("eth_getTransactionReceipt", later) is None
    assert nonces(quiet_chain, sender) == (0, 0)

    send(quiet_chain, sender, nonce=0)

    assert quiet_chain.rpc("eth_getTransactionReceipt", later)["status"] == "0x1"
    assert nonces(quiet_chain, sender) == (2, 2)


def test_the_same_transaction_twice_is_already_known(
    quiet_chain: SimulatedChain, sender: LocalAccount
) -> None:
    quiet_chain.rpc("evm_setAutomine", False)
    send(quiet_chain, sender)

    with pytest.raises(jsonrpc.RpcError, match="already known"):
        send(quiet_chain, sender)

    assert nonces(quiet_chain, sender) == (0, 1)


def test_a_replacement_must_pay_a_tenth_more(
    quiet_chain: SimulatedChain, sender: LocalAccount
) -> None:
    quiet_chain.rpc("evm_setAutomine", False)
    first = send(quiet_chain, sender)

    with pytest.raises(jsonrpc.RpcError, match="replacement transaction underpriced"):
        send(quiet_chain, sender, value=2, maxFeePerGas=2 * GWEI + 1)
    second = send(
        quiet_chain, sender, value=2, maxFeePerGas=3 * GWEI, maxPriorityFeePerGas=2 * GWEI
    )
    quiet_chain.rpc("evm_mine")

    assert quiet_chain.rpc("eth_getTransactionReceipt", second)["status"] == "0x1"
    assert quiet_chain.rpc("eth_getTransactionByHash", first) is None


def test_a_dropped_transaction_is_never_mined(
    quiet_chain: SimulatedChain, sender: LocalAccount
) -> None:
    quiet_chain.rpc("evm_setAutomine", False)
    lost = send(quiet_chain, sender)

    quiet_chain.rpc("anvil_dropTransaction", lost)
    quiet_chain.rpc("evm_mine")

    assert quiet_chain.rpc("eth_getTransactionByHash", lost) is None
    assert nonces(quiet_chain, sender) == (0, 0)


def test_a_created_contract_answers_at_the_address_of_its_receipt(
    quiet_chain: SimulatedChain, sender: LocalAccount
) -> None:
    send(quiet_chain, sender)
    done = send(quiet_chain, sender, nonce=1, to="", value=0, data=RETURN_42, gas=200_000)

    address = quiet_chain.rpc("eth_getTransactionReceipt", done)["contractAddress"]
    assert quiet_chain.rpc("eth_getCode", address) == "0x" + RETURN_42[12:].hex()
    assert int(quiet_chain.rpc("eth_call", {"to": address}), 16) == 42


def test_a_reverted_transaction_is_mined_and_costs_gas(
    quiet_chain: SimulatedChain, sender: LocalAccount
) -> None:
    done = send(quiet_chain, sender, to=quiet_chain.usdc, value=0, data=b"\1\2\3\4", gas=100_000)

    receipt = quiet_chain.rpc("eth_getTransactionReceipt", done)
    assert (receipt["status"], receipt["logs"]) == ("0x0", [])
    assert int(quiet_chain.rpc("eth_getBalance", sender.address), 16) < ETH


def test_a_reorganisation_takes_back_a_payment(
    quiet_chain: SimulatedChain, token: ContractCaller
) -> None:
    payer = funded_account(quiet_chain, usdc_atomic=100)
    message = authorization(payer.address, PAYEE, 40)
    token.authorize(message, sign(payer, message))
    quiet_chain.rpc("evm_mine")

    dropped = quiet_chain.rpc("devnet_reorg", 2)

    assert quiet_chain.rpc("eth_getTransactionReceipt", dropped[0]) is None
    assert not token.is_spent(payer.address, message["nonce"])
    assert quiet_chain.usdc_balance(payer.address) == 100


def test_reorganised_transactions_can_be_mined_again_elsewhere(
    quiet_chain: SimulatedChain, sender: LocalAccount
) -> None:
    done = send(quiet_chain, sender)
    before = quiet_chain.rpc("eth_getTransactionReceipt", done)

    quiet_chain.rpc("devnet_reorg", 1, {"requeue": True})
    assert quiet_chain.rpc("eth_getTransactionReceipt", done) is None
    quiet_chain.rpc("evm_mine")

    after = quiet_chain.rpc("eth_getTransactionReceipt", done)
    assert after["blockNumber"] == before["blockNumber"]
    assert after["blockHash"] != before["blockHash"]


def test_a_reorganisation_keeps_what_was_planted(quiet_chain: SimulatedChain) -> None:
    quiet_chain.rpc("evm_mine")
    quiet_chain.rpc("anvil_setBalance", PAYEE, "0x7")

    quiet_chain.rpc("devnet_reorg", 1)

    assert quiet_chain.rpc("eth_getBalance", PAYEE) == "0x7"


@pytest.mark.parametrize("depth", [0, 1, 99])
def test_the_first_block_cannot_be_dropped(quiet_chain: SimulatedChain, depth: int) -> None:
    with pytest.raises(jsonrpc.RpcError, match="cannot drop"):
        quiet_chain.rpc("devnet_reorg", depth)


def test_a_snapshot_brings_everything_back_once(
    quiet_chain: SimulatedChain, sender: LocalAccount
) -> None:
    quiet_chain.rpc("anvil_setBalance", PAYEE, "0x5")
    snapshot = quiet_chain.rpc("evm_snapshot")
    send(quiet_chain, sender)
    quiet_chain.rpc("anvil_setBalance", PAYEE, "0x9")

    assert quiet_chain.rpc("evm_revert", snapshot) is True

    assert (height(quiet_chain), nonces(quiet_chain, sender)) == (0, (0, 0))
    assert quiet_chain.rpc("eth_getBalance", PAYEE) == "0x5"
    assert quiet_chain.rpc("evm_revert", snapshot) is False


def test_older_states_can_be_read(quiet_chain: SimulatedChain) -> None:
    for cents in (1, 2, 3):
        quiet_chain.fund(PAYEE, usdc_atomic=cents)
    question = {"to": quiet_chain.usdc, "data": "0x70a08231" + PAYEE[2:].rjust(64, "0")}

    balances = [int(quiet_chain.rpc("eth_call", question, hex(n)), 16) for n in (0, 1, 2, 3)]

    assert balances == [0, 1, 3, 6]


def test_time_follows_the_clock_and_what_it_is_told() -> None:
    clock = [1_000_000.0]
    chain = Chain(ChainOptions(), clock=lambda: clock[0])
    clock[0] += 5
    times = [chain.mine().timestamp]
    chain.increase_time(3600)
    times.append(chain.mine().timestamp)
    times.append(chain.mine(2_000_000).timestamp)
    clock[0] += 7
    times.append(chain.mine().timestamp)

    assert times == [1_000_005, 1_003_605, 2_000_000, 2_000_007]


def test_time_never_goes_back() -> None:
    clock = [1_000_000.0]
    chain = Chain(ChainOptions(), clock=lambda: clock[0])
    clock[0] -= 500

    assert chain.mine().timestamp == 1_000_000
    with pytest.raises(ValueError, match="before the head"):
        chain.mine(999_999)


def test_logs_are_found_by_address_topics_and_range(
    quiet_chain: SimulatedChain, token: ContractCaller
) -> None:
    payer = funded_account(quiet_chain, usdc_atomic=100)
    message = authorization(payer.address, PAYEE, 40)
    token.authorize(message, sign(payer, message))
    used = "0x98de503528ee59b575ef0c0a2576a82497bfc029a5685b209e9ec333479b10a5"
    query = {"fromBlock": "0x0", "address": quiet_chain.usdc, "topics": [used, None]}

    found = quiet_chain.rpc("eth_getLogs", query)

    assert [log["topics"][2] for log in found] == ["0x" + message["nonce"].hex()]
    nobody = "0x" + PAYEE[2:].rjust(64, "0")
    assert quiet_chain.rpc("eth_getLogs", query | {"topics": [used, nobody]}) == []
    assert quiet_chain.rpc("eth_getLogs", query | {"toBlock": "0x1"}) == []
    assert quiet_chain.rpc("eth_getLogs", query | {"address": PAYEE}) == []
