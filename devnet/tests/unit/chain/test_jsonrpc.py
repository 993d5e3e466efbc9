"""The envelope: what is taken for a request, and what bad ones are told."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402_devnet.chain import SimulatedChain, jsonrpc
from pve402_devnet.chain.jsonrpc import Dispatcher

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
)


def echo(params: list[Any]) -> Any:
    return params


def ask(body: Any, *, raw: bytes | None = None) -> Any:
    dispatcher = Dispatcher({"echo": echo})
    answer = dispatcher.handle(raw if raw is not None else json.dumps(body).encode())
    return None if answer is None else json.loads(answer)


def test_a_request_is_answered_under_its_id() -> None:
    answer = ask({"jsonrpc": "2.0", "id": "a", "method": "echo", "params": [1]})

    assert answer == {"jsonrpc": "2.0", "id": "a", "result": [1]}


def test_a_batch_is_answered_in_order_without_its_notifications() -> None:
    call = {"jsonrpc": "2.0", "method": "echo"}

    answer = ask([call | {"id": 1}, call, call | {"id": 2, "method": "nope"}, 5])

    assert [item["id"] for item in answer] == [1, 2, None]
    assert [item.get("error", {}).get("code") for item in answer] == [None, -32601, -32600]


def test_a_notification_gets_no_answer() -> None:
    assert ask({"jsonrpc": "2.0", "method": "echo"}) is None


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{not json", jsonrpc.PARSE_ERROR),
        (b"[" * 100_000, jsonrpc.PARSE_ERROR),
        (b"[]", jsonrpc.INVALID_REQUEST),
        (b"5", jsonrpc.INVALID_REQUEST),
        (b'{"id":1}', jsonrpc.INVALID_REQUEST),
        (b'{"id":1,"method":"echo","params":{"a":1}}', jsonrpc.INVALID_REQUEST),
        (b'{"id":1,"method":"nope"}', jsonrpc.METHOD_NOT_FOUND),
        (b" " * (jsonrpc.MAX_REQUEST_BYTES + 1), jsonrpc.INVALID_REQUEST),
        (b"[" + b"1," * jsonrpc.MAX_BATCH + b"1]", jsonrpc.INVALID_REQUEST),
    ],
    ids=["text", "deep", "empty", "number", "no method", "named", "unknown", "large", "batch"],
)
def test_bad_requests_are_told_what_is_wrong(raw: bytes, code: int) -> None:
    assert ask(None, raw=raw)["error"]["code"] == code


@given(
    method=st.sampled_from(
        [
            "eth_call",
            "eth_getLogs",
            "evm_mine",
            "eth_estimateGas",
            "eth_getBalance",
            "eth_getBlockByNumber",
            "eth_feeHistory",
            "devnet_mintUsdc",
            "anvil_setCode",
            "eth_sendRawTransaction",
            "eth_getStorageAt",
            "evm_revert",
            "devnet_reorg",
        ]
    ),
    params=st.lists(json_values, max_size=3),
)
def test_no_parameters_break_a_method(method: str, params: list[Any]) -> None:
    chain = SimulatedChain()

    with contextlib.suppress(jsonrpc.RpcError):
        chain.rpc(method, *params)

    assert chain.rpc("eth_chainId") == "0x14a34"
