"""A console's bytes both ways: held back by windows, bounded, and deaf to nonsense."""

import asyncio
import json
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from pve402.api.sockets import pump
from pve402.api.sockets.pump import MESSAGE_BYTES, Pump
from pve402.api.transport import pace


class FakeSocket:
    """A client's websocket; `say` puts messages in, `heard` keeps what was sent."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.shown: list[bytes] = []
        self.told: list[dict[str, Any]] = []

    def say(self, message: bytes | str | dict[str, Any]) -> None:
        if isinstance(message, dict):
            message = json.dumps(message)
        kind = "bytes" if isinstance(message, bytes) else "text"
        self.incoming.put_nowait({"type": "websocket.receive", kind: message})

    def leave(self) -> None:
        self.incoming.put_nowait({"type": "websocket.disconnect"})

    async def receive(self) -> dict[str, Any]:
        return await self.incoming.get()

    async def send_bytes(self, data: bytes) -> None:
        self.shown.append(data)

    async def send_text(self, text: str) -> None:
        self.told.append(json.loads(text))


class FakeChannel:
    """A console; takes what is typed only while `open`."""

    def __init__(self, *output: bytes) -> None:
        self.close_reason = ""
        self.typed: list[bytes] = []
        self.sizes: list[tuple[int, int]] = []
        self.takes = asyncio.Event()
        self.takes.set()
        self._output = list(output)
        self._ended = asyncio.Event()

    async def write(self, data: bytes) -> None:
        await self.takes.wait()
        self.typed.append(data)

    async def read(self) -> bytes | None:
        if self._output:
            return self._output.pop(0)
        await self._ended.wait()
        return None

    def resize(self, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    async def close(self) -> None:
        self._ended.set()


async def settled() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


@pytest.fixture
def socket() -> FakeSocket:
    return FakeSocket()


async def test_bytes_go_both_ways_until_the_client_leaves(socket: FakeSocket) -> None:
    channel = FakeChannel(b"hello")
    socket.say(b"typed")
    running = asyncio.create_task(Pump(socket, channel).run())  # type: ignore[arg-type]
    await settled()

    socket.leave()
    await asyncio.wait_for(running, 5)

    assert b"".join(socket.shown) == b"hello"
    assert b"".join(channel.typed) == b"typed"


async def test_the_end_of_the_console_ends_the_pump(socket: FakeSocket) -> None:
    channel = FakeChannel(b"last")
    running = asyncio.create_task(Pump(socket, channel).run())  # type: ignore[arg-type]
    await settled()

    await channel.close()
    await asyncio.wait_for(running, 5)

    assert socket.shown == [b"last"]


async def test_what_runs_beside_ends_the_pump(socket: FakeSocket) -> None:
    async def beside() -> None:
        return None

    await asyncio.wait_for(Pump(socket, FakeChannel()).run(beside()), 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 1000, MESSAGE_BYTES, 3 * MESSAGE_BYTES, 10 * MESSAGE_BYTES])
async def test_a_client_that_stops_reading_ends_the_pump(
    socket: FakeSocket, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_data: bytes) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(pace, "SECONDS", 0.01)
    monkeypatch.setattr(socket, "send_bytes", never)

    await asyncio.wait_for(Pump(socket, FakeChannel(b"x" * size)).run(), 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("pieces", [2, 3, 9])
async def test_a_client_that_dies_behind_an_unread_paste_ends_the_pump(
    socket: FakeSocket, pieces: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gone(_data: bytes) -> None:
        raise WebSocketDisconnect(1006)

    monkeypatch.setattr(pump, "PROBE_SECONDS", 0.01)
    monkeypatch.setattr(socket, "send_bytes", gone)
    channel = FakeChannel()
    channel.takes.clear()
    for _ in range(pieces + 2):
        socket.say(bytes(300 * 1024))

    await asyncio.wait_for(Pump(socket, channel).run(), 5)  # type: ignore[arg-type]


async def test_a_client_that_waits_behind_an_unread_paste_stays(
    socket: FakeSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "PROBE_SECONDS", 0.01)
    channel = FakeChannel()
    channel.takes.clear()
    for _ in range(4):
        socket.say(bytes(300 * 1024))
    running = asyncio.create_task(Pump(socket, channel).run())  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        while b"" not in socket.shown:  # noqa: ASYNC110 - only looking tells
            await asyncio.sleep(0.005)

    channel.takes.set()
    socket.say(b"last")
    async with asyncio.timeout(5):
        while not b"".join(channel.typed).endswith(b"last"):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    running.cancel()

    assert sum(map(len, channel.typed)) == 4 * 300 * 1024 + 4


async def test_no_more_than_a_window_is_under_way(socket: FakeSocket) -> None:
    window = 2 * MESSAGE_BYTES
    channel = FakeChannel(bytes(10 * MESSAGE_BYTES))
    running = asyncio.create_task(Pump(socket, channel, window=window).run())  # type: ignore[arg-type]
    await settled()
    before = sum(map(len, socket.shown))

    socket.say({"ack": MESSAGE_BYTES})
    await settled()
    after = sum(map(len, socket.shown))
    running.cancel()

    assert (before, after) == (window, window + MESSAGE_BYTES)


@pytest.mark.parametrize("asked", [-5, 0, 1, 10**12])
async def test_a_window_has_bounds(socket: FakeSocket, asked: int) -> None:
    channel = FakeChannel(bytes(200 * MESSAGE_BYTES))
    running = asyncio.create_task(Pump(socket, channel, window=asked).run())  # type: ignore[arg-type]
    for _ in range(20):
        await settled()
    running.cancel()

    assert MESSAGE_BYTES <= sum(map(len, socket.shown)) <= pump._LARGEST_WINDOW


async def test_an_acknowledgement_passes_a_paste_that_is_not_taken(socket: FakeSocket) -> None:
    channel = FakeChannel(bytes(2 * MESSAGE_BYTES))
    channel.takes.clear()
    pump = Pump(socket, channel, window=MESSAGE_BYTES)  # type: ignore[arg-type]
    running = asyncio.create_task(pump.run())
    for _ in range(8):
        socket.say(bytes(16 * 1024))
    socket.say({"ack": MESSAGE_BYTES})
    await settled()
    running.cancel()

    assert len(socket.shown) == 2


async def test_input_that_waits_is_bounded(socket: FakeSocket) -> None:
    channel = FakeChannel()
    channel.takes.clear()
    running = asyncio.create_task(Pump(socket, channel).run())  # type: ignore[arg-type]
    for _ in range(200):
        socket.say(bytes(16 * 1024))
    await settled()
    running.cancel()

    read_bytes = (200 - socket.incoming.qsize()) * 16 * 1024
    one_message = 16 * 1024
    assert read_bytes <= 2 * pump._MOST_WAITING_BYTES + one_message


async def test_what_was_taken_is_told_to_clients_that_count(socket: FakeSocket) -> None:
    channel = FakeChannel()
    running = asyncio.create_task(Pump(socket, channel, window=1).run())  # type: ignore[arg-type]
    for _ in range(4):
        socket.say(bytes(16 * 1024))
    await settled()
    running.cancel()

    assert sum(told["taken"] for told in socket.told) == 64 * 1024


async def test_of_many_sizes_the_last_counts(socket: FakeSocket) -> None:
    channel = FakeChannel()
    running = asyncio.create_task(Pump(socket, channel).run())  # type: ignore[arg-type]
    for columns in range(20, 200):
        socket.say({"resize": {"columns": columns, "rows": 24}})
    await asyncio.sleep(0.2)
    running.cancel()

    assert channel.sizes[-1] == (199, 24)
    assert len(channel.sizes) <= 4


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "{",
        "[]",
        "5",
        "[" * 1000,
        '{"resize": 5}',
        '{"resize": {"columns": "x", "rows": null}}',
        '{"resize": {"columns": true, "rows": 1.5}}',
        '{"resize": {"columns": 80, "rows": null}}',
        '{"resize": {"columns": "80", "rows": 24}}',
        '{"ack": "1"}',
        '{"ack": -5}',
        '{"x": "' + "y" * 100_000 + '"}',
    ],
)
async def test_nonsense_is_passed_over(socket: FakeSocket, nonsense: str) -> None:
    channel = FakeChannel()
    running = asyncio.create_task(Pump(socket, channel).run())  # type: ignore[arg-type]
    socket.say(nonsense)
    socket.say(b"after")
    await settled()

    assert not running.done()
    running.cancel()
    assert channel.typed == [b"after"]
    assert channel.sizes == []


async def test_both_ways_of_a_console_are_paced(socket: FakeSocket) -> None:
    channel, asked, may = FakeChannel(b"o" * 5), asyncio.Queue[int](), asyncio.Semaphore(0)

    async def pace(size: int) -> None:
        asked.put_nowait(size)
        await may.acquire()

    socket.say(b"i" * 7)
    running = asyncio.create_task(Pump(socket, channel, pace=pace).run())  # type: ignore[arg-type]
    assert sorted([await asked.get(), await asked.get()]) == [5, 7]
    assert (socket.shown, channel.typed) == ([], [])
    may.release()
    may.release()
    await settled()

    assert (socket.shown, channel.typed) == ([b"o" * 5], [b"i" * 7])
    socket.leave()
    await asyncio.wait_for(running, 5)
