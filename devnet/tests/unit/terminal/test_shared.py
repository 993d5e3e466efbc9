"""The shared terminal, on a pair of descriptors instead of a guest."""

import asyncio
import os
import termios
import tty
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from pve402_devnet.terminal.manners import POLITE, TerminalManners
from pve402_devnet.terminal.shared import CLEAR, Allowance, SharedTerminal

ALL = TerminalManners()


@dataclass(eq=False)
class Client:
    """Keeps what it is given; takes no more once `limit` is reached."""

    limit: int = 1 << 40
    taken: bytearray = field(default_factory=bytearray)
    ended: bool = False

    def deliver(self, data: bytes) -> None:
        self.taken += data

    def has_room(self) -> bool:
        return len(self.taken) < self.limit

    def on_end(self) -> None:
        self.ended = True


@dataclass(frozen=True)
class Pair:
    """A terminal and the end of it that a program would hold."""

    terminal: SharedTerminal
    program: int

    async def prints(self, data: bytes) -> None:
        """Write as a program; waits while the terminal is full."""
        async with asyncio.timeout(5):
            while data:
                try:
                    data = data[os.write(self.program, data) :]
                except BlockingIOError:
                    await asyncio.sleep(0.001)
        await settle()


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0.001)


@pytest.fixture(params=[ALL])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(slave, False)
    terminal = SharedTerminal(master, request.param)
    yield Pair(terminal, slave)
    terminal.end()
    os.close(slave)


POLITELY = pytest.mark.parametrize("pair", [POLITE], indirect=True)


async def test_a_client_gets_a_cleared_screen_and_then_the_output(pair: Pair) -> None:
    client = Client()
    pair.terminal.attach(client)
    await pair.prints(b"a\nb")
    assert client.taken == CLEAR + b"a\r\nb"


async def test_output_without_a_client_is_thrown_away(pair: Pair) -> None:
    await pair.prints(b"x" * 200_000)
    client = Client()
    pair.terminal.attach(client)
    await pair.prints(b"new")
    assert client.taken == CLEAR + b"new"


async def test_a_single_slow_client_holds_the_program_up_and_misses_nothing(pair: Pair) -> None:
    client = Client(limit=1000)
    pair.terminal.attach(client)
    writing = asyncio.create_task(pair.prints(b"x" * 100_000))
    await settle()
    assert not writing.done()
    client.limit = 1 << 40
    pair.terminal.room_made()
    await writing
    assert client.taken.count(b"x") == 100_000


async def test_a_slow_client_among_several_misses_output(pair: Pair) -> None:
    slow, quick = Client(limit=1000), Client()
    pair.terminal.attach(slow)
    pair.terminal.attach(quick)
    await pair.prints(b"x" * 30_000)
    assert quick.taken.count(b"x") == 30_000
    assert slow.taken.count(b"x") < 30_000


@POLITELY
async def test_a_slow_client_among_several_holds_all_up_when_polite(pair: Pair) -> None:
    slow, quick = Client(limit=1000), Client()
    pair.terminal.attach(slow)
    pair.terminal.attach(quick)
    writing = asyncio.create_task(pair.prints(b"x" * 60_000))
    await settle()
    assert not writing.done()
    pair.terminal.detach(slow)
    await writing
    assert quick.taken.count(b"x") == 60_000


async def test_a_client_that_left_gets_nothing_more(pair: Pair) -> None:
    client = Client()
    pair.terminal.attach(client)
    pair.terminal.detach(client)
    pair.terminal.detach(client)
    await pair.prints(b"x")
    assert client.taken == CLEAR


async def test_input_reaches_the_program(pair: Pair) -> None:
    pair.terminal.write(b"typed")
    await settle()
    assert os.read(pair.program, 100) == b"typed"


async def test_much_unread_input_stops_the_output(pair: Pair) -> None:
    client = Client()
    pair.terminal.attach(client)
    pair.terminal.write(b"i" * 60_000)
    await settle()
    os.write(pair.program, b"never seen")
    await settle()
    assert client.taken == CLEAR


@POLITELY
async def test_much_unread_input_stops_nothing_when_polite(pair: Pair) -> None:
    client = Client()
    pair.terminal.attach(client)
    pair.terminal.write(b"i" * 60_000)
    await pair.prints(b"seen")
    assert client.taken == CLEAR + b"seen"


async def test_a_resize_is_the_size_of_the_program(pair: Pair) -> None:
    pair.terminal.resize(120, 65_536 + 40)
    assert termios.tcgetwinsize(pair.program) == (40, 120)


async def test_the_end_is_told_once_to_everyone(pair: Pair) -> None:
    clients = [Client(), Client()]
    for client in clients:
        pair.terminal.attach(client)
    await pair.prints(b"last words")
    pair.terminal.end_soon()
    await asyncio.sleep(0.1)
    assert all(client.ended and client.taken.endswith(b"last words") for client in clients)
    pair.terminal.end()
    pair.terminal.write(b"ignored")
    pair.terminal.resize(1, 1)
    assert pair.terminal.ended


def test_an_allowance_is_spent_and_grows_back() -> None:
    now = [0.0]
    allowance = Allowance(lambda: now[0])
    assert allowance.take(64 * 1024)
    assert not allowance.take(1)
    now[0] += 0.5
    assert allowance.take(64 * 1024)


def test_every_manner_is_on_and_none_of_them_is_polite() -> None:
    assert replace(ALL, seed=1) != ALL
    rude = ("loses_early_input", "doubles_returns", "loses_split_headers", "drops_when_shared")
    assert all(getattr(ALL, name) and not getattr(POLITE, name) for name in rude)
    assert ALL.stall_seconds == 0.04
    assert POLITE.stall_seconds == 0
