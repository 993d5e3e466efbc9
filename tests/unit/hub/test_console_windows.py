"""Windows onto one console: all see everything, a slow one loses output and nothing else."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from pve402.hub import errors
from pve402.hub.console import Console, ConsoleChannel
from pve402.hub.options import HubOptions
from pve402.hub.shells import SoleShell


class FakeTerminal:
    """A terminal of a guest without a pseudo terminal tool."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_closed = False
        self.output: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def send(self, data: bytes) -> None:
        self.sent.append(data)

    async def receive(self) -> bytes | None:
        return await self.output.get()

    async def close(self) -> None:
        self.is_closed = True
        self.output.put_nowait(None)


class FakeGuest:
    """Stands for a GuestState."""

    guest = None
    held_by: list[str]

    def __init__(self) -> None:
        self.held_by = []

    async def session(self) -> Any:
        return SimpleNamespace(hello=SimpleNamespace(tools=frozenset()))

    @asynccontextmanager
    async def held(self, holder: str) -> Any:
        self.held_by.append(holder)
        try:
            yield
        finally:
            self.held_by.remove(holder)


@pytest.fixture
def terminal() -> FakeTerminal:
    return FakeTerminal()


@pytest.fixture
def guest() -> FakeGuest:
    return FakeGuest()


@pytest.fixture
def console(terminal: FakeTerminal, guest: FakeGuest) -> Console:
    async def open_terminal(_: object) -> FakeTerminal:
        return terminal

    async def find_guest() -> FakeGuest:
        return guest

    async def no_variables(*_: object) -> str:
        return ""

    return Console(find_guest, open_terminal, HubOptions(), no_variables)  # type: ignore[arg-type]


async def test_both_windows_see_the_output(console: Console, terminal: FakeTerminal) -> None:
    first = await console.attach(80, 24)
    second = await console.attach(80, 24)
    terminal.output.put_nowait(b"hello")
    assert [await window.read() for window in (first, second)] == [b"hello", b"hello"]
    await console.close("ended")


async def test_later_window_is_given_the_last_output(
    console: Console, terminal: FakeTerminal
) -> None:
    first = await console.attach(80, 24)
    terminal.output.put_nowait(b"before")
    await first.read()
    assert await (await console.attach(80, 24)).read() == b"before"
    await console.close("ended")


async def test_slow_window_keeps_the_end_and_says_so(console: Console) -> None:
    window = ConsoleChannel(console)
    for number in range(400):
        window.take(f"{number:04}".encode() * 2500)
    data = await window.read()
    assert data is not None
    assert len(data) <= 1_100_000
    assert b"[output skipped]" in data
    assert data.endswith(b"0399")


async def test_end_of_the_shell_ends_all_windows_and_lets_go_of_the_terminal(
    console: Console, terminal: FakeTerminal, guest: FakeGuest
) -> None:
    windows = [await console.attach(80, 24) for _ in range(2)]
    terminal.output.put_nowait(b"\x1b[999H\r\n[EOF - dtach terminating]\r\n")
    for window in windows:
        while await window.read() is not None:
            pass
        assert window.close_reason == "exit"
    await asyncio.sleep(0.01)
    assert guest.held_by == []
    assert terminal.is_closed


async def test_typing_is_sent_in_packets_and_never_detaches(
    console: Console, terminal: FakeTerminal
) -> None:
    window = await console.attach(80, 24)
    terminal.output.put_nowait(b"# ")
    await window.write(b"ab\x1ccd")
    assert b"0:4:abcd" in terminal.sent
    assert b"1:80:24:" in terminal.sent
    await console.close("ended")
    assert isinstance(console._shell, SoleShell)


async def test_number_of_windows_is_bounded(console: Console) -> None:
    for _ in range(16):
        await console.attach(80, 24)
    with pytest.raises(errors.TooManyCommands):
        await console.attach(80, 24)
    await console.close("ended")
