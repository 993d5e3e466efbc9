"""What callers write where something else belongs."""

from __future__ import annotations

import json
from typing import Any

import pytest
import rlp  # type: ignore[import-untyped, unused-ignore]
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.transactions import PAYEE

from pve402_devnet.chain import SimulatedChain, control, eth, jsonrpc, transactions

HASH = "0x" + "12" * 32
METHODS = sorted({**eth.METHODS, **control.METHODS})
LONG = {"anvil_mine"}  # thousands of blocks are a fair wish
JUNK: list[Any] = [
    None, True, False, -1, 0, 1.5, 2**64, 2**300, "", "0x", "latest", "é", "0x" + "zz" * 20, HASH,
    PAYEE, [], [[]], [None], ["a"], {}, {"to": []}, {"to": PAYEE, "data": 7}, {"blockHash": []},
    {"blockNumber": {"blockNumber": {}}}, {"address": [[]]}, {"topics": [[[]]]}, {"fromBlock": {}},
    {"timestamp": []}, {"requeue": "no"},
]  # fmt: skip


def ask(chain: SimulatedChain, method: str, *params: Any) -> Any:
    """As over HTTP."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    answer = chain._dispatcher.handle(json.dumps(body).encode())
    assert answer is not None
    return json.loads(answer)


@pytest.mark.parametrize(
    "call",
    [
        {"to": []},
        {"to": [PAYEE]},
        {"to": 5},
        {"to": ""},
        {"to": {"to": PAYEE}},
        {"to": PAYEE, "data": 7},
        {"to": PAYEE, "data": ["0x"]},
        {"to": PAYEE, "data": "0x1"},
        {"to": PAYEE, "input": {}},
        {"to": PAYEE, "input": False},
        {"to": PAYEE, "from": []},
        {"to": PAYEE, "from": 0},
        {"to": PAYEE, "value": []},
        {"to": PAYEE, "value": "ten"},
        {"to": PAYEE, "value": -1},
        {"to": PAYEE, "gas": {}},
        {"to": PAYEE, "gas": 1.5},
        [],
        "call",
        7,
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas"])
def test_a_call_with_a_field_of_the_wrong_kind(
    quiet_chain: SimulatedChain, method: str, call: Any
) -> None:
    assert ask(quiet_chain, method, call)["error"]["code"] == jsonrpc.INVALID_PARAMS


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("eth_getBalance", [[PAYEE]]),
        ("eth_getCode", [{}]),
        ("eth_getStorageAt", [PAYEE, []]),
        ("eth_getTransactionCount", [PAYEE, []]),
        ("eth_getBalance", [PAYEE, {"blockHash": 5}]),
        ("eth_getBalance", [PAYEE, {"blockNumber": []}]),
        ("eth_getBlockByNumber", ["latest", "yes"]),
        ("eth_getTransactionReceipt", [[HASH]]),
        ("eth_feeHistory", ["0x1", "latest", "half"]),
        ("eth_feeHistory", ["0x1", "latest", [[]]]),
        ("eth_feeHistory", [[], "latest"]),
        ("eth_getLogs", [{"address": {}}]),
        ("eth_getLogs", [{"topics": "0x"}]),
        ("eth_getLogs", [{"topics": 0}]),
        ("eth_getLogs", [{"topics": [[[]]]}]),
        ("eth_getLogs", [{"fromBlock": 1.5}]),
        ("eth_getLogs", [[]]),
        ("eth_sendRawTransaction", [7]),
        ("eth_sendRawTransaction", [{"to": PAYEE}]),
        ("eth_sendRawTransaction", ["0x04"]),
        ("web3_sha3", [[]]),
        ("evm_mine", [{"timestamp": []}]),
        ("evm_mine", [2**64]),
        ("evm_increaseTime", [2**64]),
        ("evm_setNextBlockTimestamp", ["0x" + "f" * 64]),
        ("anvil_mine", ["0x2", "0x" + "f" * 64]),
        ("evm_setAutomine", ["no"]),
        ("devnet_reorg", ["0x1", {"requeue": "no"}]),
        ("devnet_mintUsdc", [PAYEE, []]),
        ("anvil_setCode", [PAYEE, 5]),
    ],
)
def test_a_parameter_of_the_wrong_kind(
    quiet_chain: SimulatedChain, method: str, params: list[Any]
) -> None:
    assert ask(quiet_chain, method, *params)["error"]["code"] == jsonrpc.INVALID_PARAMS


@pytest.mark.parametrize("method", [name for name in METHODS if name not in LONG])
def test_nothing_ends_in_an_error_of_its_own(quiet_chain: SimulatedChain, method: str) -> None:
    for first in JUNK:
        for params in ([first], [PAYEE, first], [first, "latest"], [PAYEE, "0x1", first]):
            assert {"result", "error"} & ask(quiet_chain, method, *params).keys()
    assert "result" in ask(quiet_chain, "eth_call", {"to": quiet_chain.usdc, "data": "0x313ce567"})


@settings(max_examples=300)
@given(
    kind=st.sampled_from([None, 1, 2, 3, 4, 5]),
    fields=st.lists(
        st.recursive(st.binary(max_size=34), lambda inner: st.lists(inner, max_size=3)),
        min_size=8,
        max_size=14,
    ),
)
def test_a_raw_transaction_with_fields_of_the_wrong_kind(kind: int | None, fields: Any) -> None:
    raw = rlp.encode(fields)

    with pytest.raises(transactions.InvalidTransaction):
        transactions.decode(raw if kind is None else bytes([kind]) + raw)
