"""Servers that misbehave on the wire: bounded, tried again where that is safe, and never quoted."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import payments as make
from tests.support import scripted_server
from tests.support.scripted_server import Behaviour, ScriptedServer, answer

from pve402.payments import errors, rpc
from pve402.payments.facilitators import Outcome, http, wire
from pve402.payments.facilitators.http import HttpFacilitator, HttpFacilitatorOptions

TERMS = make.requirements()
VALID = answer(200, "OK", b'{"isValid": true, "payer": null}')
SETTLED = json.dumps(
    {"success": True, "transaction": make.TRANSACTION, "network": "base-sepolia"}
).encode()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server.running() as running:
        yield running


@pytest.fixture
async def remote(server: ScriptedServer) -> AsyncIterator[HttpFacilitator]:
    made = HttpFacilitator(
        HttpFacilitatorOptions(
            url=server.url + "/x402/",
            verify_timeout_seconds=0.3,
            settle_timeout_seconds=0.3,
            max_response_bytes=1000,
            authorize=lambda method, url: f"Bearer {method} {url}",
        )
    )
    yield made
    await made.close()


async def test_each_request_is_authorized_for_its_own_address(
    server: ScriptedServer, remote: HttpFacilitator
) -> None:
    server.script = [VALID]

    await remote.verify(make.payment(), TERMS)

    asked = server.requests[0]
    assert (asked.method, asked.path) == ("POST", "/x402/verify")
    assert asked.headers["authorization"] == f"Bearer POST {server.url}/x402/verify"


BAD_ANSWERS = {
    "401": answer(401, "no", b'{"isValid": false}'),
    "429": answer(429, "slow down"),
    "500": answer(500, "oh", b'{"success": true}'),
    "200 with text": answer(200, "OK", b"fine"),
    "yes with 400": answer(400, "no", b'{"isValid": true, "success": true}'),
    "moved": answer(302, "there", headers={"Location": "/elsewhere"}),
    "loop": answer(308, "there", headers={"Location": "/x402/verify"}),
    "nowhere": answer(308, "there"),
    "no address": answer(308, "there", headers={"Location": "http://["}),
    "too large": answer(200, "OK", b" " * 2000 + b'{"isValid": true}'),
    "silence": Behaviour.SILENCE,
    "cut short": answer(200, "OK", b"{}").replace(b"Length: 2", b"Length: 20"),
}


@pytest.mark.parametrize("bad", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_no_usable_answer_means_unavailable_or_unknown(
    server: ScriptedServer, remote: HttpFacilitator, bad: Any
) -> None:
    server.script = [bad] * 4

    with pytest.raises(errors.FacilitatorUnavailable):
        await remote.verify(make.payment(), TERMS)
    settled = await remote.settle(make.payment(), TERMS)

    assert (settled.outcome, settled.reason) == (Outcome.UNKNOWN, "facilitator_unavailable")


async def test_a_signed_payment_is_taken_to_no_other_host(
    server: ScriptedServer, remote: HttpFacilitator
) -> None:
    async with scripted_server.running() as other:
        elsewhere = answer(307, "there", headers={"Location": other.url + "/settle"})
        server.script = [elsewhere]

        settled = await remote.settle(make.payment(), TERMS)

        assert (settled.outcome, other.requests) == (Outcome.UNKNOWN, [])


async def test_a_redirect_on_the_same_host_is_followed_and_authorized_anew(
    server: ScriptedServer, remote: HttpFacilitator
) -> None:
    moved = answer(308, "there", headers={"Location": "/v2/settle"})
    server.script = [moved, answer(200, "OK", SETTLED)]

    settled = await remote.settle(make.payment(), TERMS)

    first, second = server.requests
    assert (settled.outcome, second.path) == (Outcome.SETTLED, "/v2/settle")
    assert (second.method, second.body) == ("POST", first.body)
    assert second.headers["authorization"].endswith("/v2/settle")


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("https://x402.org/f/verify", "https://www.x402.org/f/verify", True),
        ("https://www.x402.org/f/verify", "https://x402.org/f/verify", True),
        ("https://x402.org/f/verify", "http://www.x402.org/f/verify", False),
        ("https://x402.org/f/verify", "https://x402.org.evil.example/f", False),
        ("https://x402.org/f/verify", "https://x402.org@evil.example/f", False),
        ("https://x402.org/f/verify", "//evil.example/f", False),
    ],
)
def test_a_redirect_stays_with_the_host_and_with_tls(url: str, location: str, target: bool) -> None:
    if target:
        assert http._redirected(url, location) == location
        return
    with pytest.raises(wire.Unusable):
        http._redirected(url, location)


@pytest.mark.parametrize("broken", [Behaviour.DROP, Behaviour.RESET])
async def test_a_broken_connection_is_tried_once_more(
    server: ScriptedServer, remote: HttpFacilitator, broken: Behaviour
) -> None:
    server.script = [broken, answer(200, "OK", SETTLED)]

    settled = await remote.settle(make.payment(), TERMS)

    assert (settled.outcome, len(server.requests)) == (Outcome.SETTLED, 2)


@pytest.mark.parametrize("broken", [Behaviour.DROP, Behaviour.RESET])
async def test_a_no_to_what_was_sent_twice_is_not_believed(
    server: ScriptedServer, remote: HttpFacilitator, broken: Behaviour
) -> None:
    no = json.dumps({"success": False, "errorReason": "insufficient_funds"}).encode()
    server.script = [broken, answer(200, "OK", no)]

    settled = await remote.settle(make.payment(), TERMS)

    assert (settled.outcome, settled.reason) == (Outcome.UNKNOWN, "insufficient_funds")
    assert len(server.requests) == 2


async def test_a_connection_that_stays_broken_is_not_tried_for_ever(
    server: ScriptedServer, remote: HttpFacilitator
) -> None:
    server.script = [Behaviour.DROP] * 9

    assert (await remote.settle(make.payment(), TERMS)).outcome is Outcome.UNKNOWN
    assert len(server.requests) == 2


def _rpc(url: str, **options: Any) -> rpc.Rpc:
    async def no_wait(_seconds: float) -> None:
        await asyncio.sleep(0)

    limits: dict[str, Any] = {"timeout_seconds": 0.3, "max_response_bytes": 1000} | options
    return rpc.Rpc(rpc.RpcOptions(url=url + "/secret-key", **limits), sleep=no_wait)


def _result(request_id: int, value: str) -> bytes:
    return answer(200, "OK", json.dumps({"id": request_id, "result": value}).encode())


BAD_RESULTS = {
    "503": answer(503, "busy", b"<html>"),
    "no result": answer(200, "OK", b'{"id": 1}'),
    "another id": answer(200, "OK", b'{"id": 7, "result": "0x1"}'),
    "a list": answer(200, "OK", b"[]"),
    "deep": answer(200, "OK", b"[" * 900),
    "too large": answer(200, "OK", b" " * 2000),
    "rate limit": answer(429, "", b'{"error": {"code": -32005, "message": "limit"}}'),
    "strange error": answer(200, "", b'{"error": {"code": "x"}}'),
    "silence": Behaviour.SILENCE,
    "drop": Behaviour.DROP,
}


@pytest.mark.parametrize("bad", BAD_RESULTS.values(), ids=BAD_RESULTS.keys())
async def test_a_read_is_tried_again(server: ScriptedServer, bad: Any) -> None:
    server.script = [bad, _result(2, "0x5")]

    async with _rpc(server.url) as node:
        assert await node.read("eth_blockNumber") == "0x5"


@pytest.mark.parametrize("bad", BAD_RESULTS.values(), ids=BAD_RESULTS.keys())
async def test_reads_end_after_three_attempts(server: ScriptedServer, bad: Any) -> None:
    server.script = [bad] * 9

    async with _rpc(server.url) as node:
        with pytest.raises(errors.ChainUnavailable) as caught:
            await node.read("eth_blockNumber")

    assert len(server.requests) == 3
    assert "secret" not in str(caught.value)
    assert "secret" not in repr(node)


async def test_a_write_is_sent_once(server: ScriptedServer) -> None:
    server.script = [Behaviour.DROP] * 3

    async with _rpc(server.url) as node:
        with pytest.raises(errors.ChainUnavailable):
            await node.call("eth_sendRawTransaction", "0x")

    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("code", "message", "reverted"),
    [(3, "oh", True), (-32000, "execution reverted: x", True), (-32000, "nonce too low", False)],
)
async def test_a_nodes_error_is_told_apart(
    server: ScriptedServer, code: int, message: str, reverted: bool
) -> None:
    body = {"id": 1, "error": {"code": code, "message": message + "!" * 400}}
    server.script = [answer(200, "OK", json.dumps(body).encode())]

    async with _rpc(server.url) as node:
        with pytest.raises(rpc.RpcError) as caught:
            await node.read("eth_call")

    assert caught.value.reverted is reverted
    assert len(caught.value.message) == 300
    assert message not in str(caught.value)


async def test_a_host_that_does_not_exist_is_unavailable() -> None:
    async with _rpc("http://127.0.0.1:9") as node:
        with pytest.raises(errors.ChainUnavailable) as caught:
            await node.read("eth_blockNumber")

    assert "secret" not in repr(caught.value)
