"""Calls between replicas: what is signed, and what is not believed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from pve402.domain import errors
from pve402.guests import peers
from pve402.guests.peers import BodyNotAuthentic, CallNotAuthentic, Signer

KEY = b"k" * 32
ADDRESS = "10.0.0.1:4022"
TARGET = "/management/exec/10000?x=1"
CALL = (ADDRESS, "POST", TARGET)


@dataclass
class Clock:
    """A clock that tests move."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def caller(clock: Clock) -> Signer:
    return Signer(KEY, now=clock)


@pytest.fixture
def receiver(clock: Clock) -> Signer:
    clock.now -= 1000
    started = Signer(KEY, now=clock)
    clock.now += 1000
    return started


def test_a_signed_call_is_known_with_its_lease_and_body(caller: Signer, receiver: Signer):
    headers = caller.sign(*CALL, "l1", b"body")

    call, signature = receiver.check(*CALL, headers)

    assert (call.lease_id, signature) == ("l1", headers["pve402-peer-signature"])
    call.check_body(b"body")
    with pytest.raises(BodyNotAuthentic):
        call.check_body(b"other")


def test_a_call_is_good_once(caller: Signer, receiver: Signer):
    headers = caller.sign(*CALL, "l1", b"")
    receiver.check(*CALL, headers)

    with pytest.raises(CallNotAuthentic):
        receiver.check(*CALL, headers)


@pytest.mark.parametrize(
    "received",
    [
        ("10.0.0.2:4022", "POST", TARGET),
        (ADDRESS, "GET", TARGET),
        (ADDRESS, "POST", "/management/exec/10001?x=1"),
        (ADDRESS, "POST", "/management/exec/10000?x=2"),
    ],
)
def test_a_call_to_another_place_is_not_believed(caller, receiver, received):
    with pytest.raises(CallNotAuthentic):
        receiver.check(*received, caller.sign(*CALL, "l1", b""))


@pytest.mark.parametrize("name", ["lease", "body", "time", "nonce", "signature"])
@pytest.mark.parametrize("value", ["", "1", "l2", "é", "0" * 64, "9" * 400])
def test_a_changed_header_is_not_believed(caller, receiver, name: str, value: str):
    headers = caller.sign(*CALL, "l1", b"") | {f"pve402-peer-{name}": value}

    with pytest.raises(CallNotAuthentic):
        receiver.check(*CALL, headers)


def test_a_call_without_a_signature_is_not_believed(receiver: Signer):
    with pytest.raises(CallNotAuthentic):
        receiver.check(*CALL, {})


def test_a_call_signed_with_another_key_is_not_believed(receiver: Signer, clock: Clock):
    stranger = Signer(b"s" * 32, now=clock)

    with pytest.raises(CallNotAuthentic):
        receiver.check(*CALL, stranger.sign(*CALL, "l1", b""))


@pytest.mark.parametrize("later", [-61, 61, 3600])
def test_a_call_of_another_time_is_not_believed(caller, receiver, clock: Clock, later: int):
    headers = caller.sign(*CALL, "l1", b"")
    clock.now += later

    with pytest.raises(CallNotAuthentic):
        receiver.check(*CALL, headers)


def test_a_call_from_before_the_start_is_not_believed(caller: Signer, clock: Clock):
    headers = caller.sign(*CALL, "l1", b"")
    clock.now += 5
    restarted = Signer(KEY, now=clock)

    with pytest.raises(CallNotAuthentic):
        restarted.check(*CALL, headers)


def test_nonces_are_forgotten_once_their_calls_are_too_old(caller, receiver, clock: Clock):
    for _ in range(100):
        receiver.check(*CALL, caller.sign(*CALL, "l1", b""))
    clock.now += 200

    receiver.check(*CALL, caller.sign(*CALL, "l1", b""))

    assert len(receiver._seen) == 1


def test_more_calls_than_can_be_remembered_are_refused(caller, receiver, monkeypatch):
    monkeypatch.setattr(peers, "LARGEST_NONCES", 2)
    for _ in range(2):
        receiver.check(*CALL, caller.sign(*CALL, "l1", b""))

    with pytest.raises(errors.Overloaded):
        receiver.check(*CALL, caller.sign(*CALL, "l1", b""))


async def _each(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def _sent(chunks: Iterable[bytes], signature: str = "s") -> bytes:
    codes = Signer(KEY).pieces(signature)
    return b"".join([piece async for piece in codes.write(_each(chunks))])


async def _read(received: Iterable[bytes], signature: str = "s") -> bytes:
    codes = Signer(KEY).pieces(signature)
    return b"".join([piece async for piece in codes.read(_each(received))])


def _cut(data: bytes, sizes: list[int]) -> list[bytes]:
    pieces, start = [], 0
    for size in sizes:
        pieces.append(data[start : start + size])
        start += size
    return [*pieces, data[start:]]


@given(
    chunks=st.lists(st.binary(max_size=300), max_size=6),
    sizes=st.lists(st.integers(0, 200), max_size=20),
)
async def test_pieces_arrive_whole_however_they_are_cut(chunks: list[bytes], sizes: list[int]):
    sent = await _sent(chunks)

    assert await _read(_cut(sent, sizes)) == b"".join(chunks)


@given(data=st.data(), chunks=st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=4))
async def test_a_changed_or_shortened_stream_is_not_believed(data, chunks: list[bytes]):
    sent = bytearray(await _sent(chunks))
    place = data.draw(st.integers(0, len(sent) - 1))
    if data.draw(st.booleans()):
        sent[place] ^= data.draw(st.integers(1, 255))
    else:
        del sent[place:]

    with pytest.raises(BodyNotAuthentic):
        await _read([bytes(sent)])


async def test_pieces_of_another_call_are_not_believed():
    with pytest.raises(BodyNotAuthentic):
        await _read([await _sent([b"x"], "one")], "other")


async def test_a_large_chunk_is_sent_in_pieces_of_bounded_size():
    sent = await _sent([b"x" * 3_000_000])

    assert await _read([sent]) == b"x" * 3_000_000
    assert len(sent) == 3_000_000 + 4 * 36


@contextlib.asynccontextmanager
async def _peer_that(
    does: Callable[[web.WebSocketResponse], Awaitable[None]],
) -> AsyncIterator[str]:
    """A peer whose websocket does something; its address."""

    async def serve(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        await does(socket)
        return socket

    application = web.Application()
    application.router.add_get("/ws", serve)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_peer_that_says_nothing_at_all_is_lost(
    caller: Signer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(peers, "SILENCE_SECONDS", 0.05)
    others, over = peers.Peers(signer=caller), asyncio.Event()

    async with _peer_that(lambda _: over.wait()) as address:
        socket = await others.connect(address, "/ws", lease_id="l", headers={})
        with pytest.raises(peers.PeerLost):
            await peers.receive(socket)
        over.set()
        await others.close()


@pytest.mark.parametrize("pings", [1, 4])
async def test_pings_show_that_a_peer_lives_and_are_no_messages(caller: Signer, pings: int):
    async def ping(socket: web.WebSocketResponse) -> None:
        for _ in range(pings):
            await socket.ping(b"are you there")
        await socket.send_bytes(b"output")
        answers.append(await socket.receive())

    answers: list[aiohttp.WSMessage] = []
    others = peers.Peers(signer=caller)

    async with _peer_that(ping) as address:
        socket = await others.connect(address, "/ws", lease_id="l", headers={})
        message = await peers.receive(socket)
        await socket.close()
        await others.close()

    assert message.data == b"output"
    assert [answer.type for answer in answers] == [aiohttp.WSMsgType.CLOSE]
