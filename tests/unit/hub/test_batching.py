"""What comes in many messages is handed on together, in order, all of it, and in bounded pieces."""

import asyncio
from collections.abc import Callable

import pytest

from pve402.hub.batching import LARGEST_PIECE_BYTES, BatchedReader


class Messages:
    """A socket that has messages ready, then ends or breaks; None in between waits for `go_on`."""

    def __init__(self, *messages: bytes | None, error: OSError | None = None) -> None:
        self._messages = list(messages)
        self._error = error
        self.go_on = asyncio.Event()

    async def receive(self) -> bytes | None:
        if self._messages and self._messages[0] is None:
            await self.go_on.wait()
            self._messages.pop(0)
        if self._messages:
            return self._messages.pop(0)
        if self._error is not None:
            raise self._error
        return None


async def taken(source: Messages) -> list[bytes]:
    pieces: list[bytes] = []
    await BatchedReader(source, pieces.append).run()
    return pieces


async def test_messages_that_wait_are_handed_on_as_one() -> None:
    assert await taken(Messages(b"one ", b"two ", b"three")) == [b"one two three"]


async def test_what_came_before_a_pause_does_not_wait_for_what_comes_after() -> None:
    source, pieces = Messages(b"before", None, b"after"), []
    take: Callable[[bytes], None] = pieces.append
    reading = asyncio.create_task(BatchedReader(source, take).run())
    await asyncio.sleep(0.01)
    assert pieces == [b"before"]
    source.go_on.set()
    await reading
    assert pieces == [b"before", b"after"]


async def test_a_flood_is_cut_so_that_others_have_their_turn() -> None:
    messages = [bytes([number % 256]) * 4096 for number in range(200)]
    pieces = await taken(Messages(*messages))
    assert b"".join(pieces) == b"".join(messages)
    assert max(map(len, pieces)) <= LARGEST_PIECE_BYTES + 4096


class Trickle:
    """A socket with one message a turn of the loop."""

    def __init__(self, *messages: bytes) -> None:
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._feeding = asyncio.create_task(self._feed(*messages))

    async def receive(self) -> bytes | None:
        return await self._waiting.get()

    async def _feed(self, *messages: bytes) -> None:
        for message in (*messages, None):
            self._waiting.put_nowait(message)
            await asyncio.sleep(0)
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("messages", "joined"),
    [((b"a" * 4096, b"b", b"c"), [b"a" * 4096, b"bc"]), ((b"a", b"b", b"c"), [b"a", b"b", b"c"])],
    ids=["flood", "drops"],
)
async def test_only_a_flood_waits_for_what_comes_next(
    messages: tuple[bytes, ...], joined: list[bytes]
) -> None:
    pieces: list[bytes] = []
    await BatchedReader(Trickle(*messages), pieces.append).run()
    assert pieces == joined


@pytest.mark.parametrize("error", [None, ConnectionError()], ids=["end", "break"])
async def test_the_last_bytes_are_handed_on(error: OSError | None) -> None:
    assert await taken(Messages(b"last", error=error)) == [b"last"]


async def test_an_end_without_bytes_hands_on_nothing() -> None:
    assert await taken(Messages()) == []
