"""What chains say about open payments, and endpoints that say nothing of use."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support import stand_ins
from tests.support.scripted_seller import DONE, WISH, Script, script
from tests.support.tenant_service import KEY

from pve402 import client
from pve402.client import chain, ledger, reckoning, spending
from pve402.client.spending import State
from pve402.payments import abi, networks

__all__ = ["script"]

BASE = "eip155:84532"
VALID_BEFORE = 2_000
LATER = VALID_BEFORE + reckoning.SETTLED_SECONDS + 1
USED, UNUSED = "0x" + "01" * 32, "0x" + "02" * 32


@dataclass(kw_only=True)
class Node:
    """A chain on which one authorization was used."""

    now: int = VALID_BEFORE
    chain_id: str = hex(84532)
    asked: list[Any] = field(default_factory=list)
    #: Answers every call instead, where it is set.
    raw: Callable[[], web.Response] | None = None

    async def handle(self, request: web.Request) -> web.Response:
        call = await request.json()
        self.asked.append(call)
        if self.raw is not None:
            return self.raw()
        return web.json_response({"id": call["id"], "result": self._result(**call)})

    def _result(self, method: str, params: list[Any], **_: Any) -> Any:
        if method == "eth_chainId":
            return self.chain_id
        if method == "eth_getBlockByNumber":
            return {"number": "0x10", "timestamp": hex(self.now)}
        (call, _block) = params
        return hex(USED.removeprefix("0x") in call["data"])


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Node]:
    made = Node()
    async with stand_ins.answering(made.handle) as url:
        monkeypatch.setenv(chain.VARIABLE, url)
        yield made


@pytest.fixture
def book(tmp_path: Path) -> ledger.Ledger:
    return ledger.Ledger(tmp_path / "book")


def sent(book: ledger.Ledger, nonce: str, network: str = BASE) -> int:
    terms = spending.Terms(
        service="",
        what="",
        payer="0x" + "a1" * 20,
        network=network,
        asset="0x" + "0c" * 20,
        amount_atomic=1,
        decimals=6,
    )
    payment = book.reserve(terms)
    book.note_sent(payment, spending.Signed(nonce=nonce, valid_before=VALID_BEFORE))
    return payment


@pytest.mark.parametrize(
    ("nonce", "now", "state"),
    [
        (USED, VALID_BEFORE - 100, State.SETTLED),
        (USED, LATER, State.SETTLED),
        (UNUSED, LATER, State.RELEASED),
        (UNUSED, LATER - 1, State.SENT),
    ],
)
async def test_the_chain_says_what_became_of_it(node: Node, book, nonce, now, state):
    node.now = now
    sent(book, nonce)

    outcome = await reckoning.reckon(book)

    (found,) = book.payments()
    assert found.state is state
    assert outcome.still_open == (state is State.SENT)


async def test_a_service_that_took_what_it_refused_is_found_out(node: Node, book):
    book.refuse(sent(book, USED))

    await reckoning.reckon(book)

    (found,) = book.payments()
    assert found.state is State.SETTLED


@pytest.mark.parametrize(("nonce", "buys"), [(UNUSED, True), (USED, False)])
async def test_a_limit_stops_nothing_before_the_chain_was_asked(
    node: Node, script: Script, tmp_path: Path, nonce: str, buys: bool
):
    node.now, script.answers = LATER, [DONE]
    book = ledger.Ledger(tmp_path / "book", limits=spending.Limits(in_all_micro_usd=2000))
    book.refuse(sent(book, nonce))

    async with client.Client(script.url, key=KEY, book=book) as tenant:
        with contextlib.nullcontext() if buys else pytest.raises(client.OverLimit):
            await tenant.lease(WISH)

    assert len(script.paid) == buys


async def test_used_and_time_are_of_the_same_block(node: Node, book):
    sent(book, UNUSED)

    await reckoning.reckon(book)

    assert node.asked[-1]["params"][1] == "0x10"
    data = node.asked[-1]["params"][0]["data"]
    known = abi.selector("authorizationState(address,bytes32)")
    assert data == f"{known}{'0' * 24}{'a1' * 20}{UNUSED[2:]}"


@pytest.mark.parametrize(
    "raw",
    [
        lambda: web.Response(text="<html>"),
        lambda: web.Response(text="[" * 100_000),
        lambda: web.json_response({"error": {"code": 1}}),
        lambda: web.json_response({"result": None}),
        lambda: web.json_response({"result": "0x" + "f" * 100}),
        lambda: web.json_response({"result": [1]}),
        lambda: web.Response(body=b" " * 2_000_000),
        lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}),
    ],
)
async def test_an_endpoint_that_says_nothing_of_use_leaves_it_open(node: Node, book, raw):
    node.raw = raw
    sent(book, UNUSED)

    outcome = await reckoning.reckon(book)

    assert (outcome.still_open, len(outcome.problems)) == (1, 1)
    assert BASE in outcome.problems[0]


async def test_an_endpoint_of_another_network_is_not_believed(node: Node, book):
    node.chain_id, node.now = "0x1", LATER
    sent(book, UNUSED)

    outcome = await reckoning.reckon(book)

    assert outcome.still_open == 1
    assert "another network" in outcome.problems[0]


async def test_a_network_that_cannot_be_read_does_not_hide_the_others(node: Node, book):
    sent(book, USED)
    sent(book, USED, network="eip155:1")

    outcome = await reckoning.reckon(book)

    assert (outcome.settled, outcome.still_open) == (1, 1)


async def test_a_balance_is_read(node: Node):
    async with chain.Chain(BASE) as base:
        assert await base.balance("0x" + "0c" * 20, USED) == 1


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("", chain.PUBLIC[BASE]),
        ("http://one", "http://one"),
        ("eip155:1=http://other", chain.PUBLIC[BASE]),
        ("eip155:1=http://other, eip155:84532=http://ours?key=a", "http://ours?key=a"),
        ("http://one?key=a", "http://one?key=a"),
    ],
)
def test_endpoints_are_public_or_chosen(monkeypatch, given: str, found: str):
    monkeypatch.setenv(chain.VARIABLE, given)

    assert chain.endpoint(BASE) == found


async def test_without_an_endpoint_the_setting_is_named(monkeypatch):
    monkeypatch.delenv(chain.VARIABLE, raising=False)

    with pytest.raises(client.ChainUnreadable, match="PVE402_RPC_URL"):
        async with chain.Chain("eip155:5"):
            pass


def test_public_endpoints_are_those_of_the_service():
    known = {one.caip2: one.rpc_url for one in networks.NETWORKS if one.rpc_url}

    assert known == chain.PUBLIC
