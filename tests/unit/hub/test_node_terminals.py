"""Terminals are bounded on each node by itself, those that are still being opened among them."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.unit.hub.test_hostile_guest import FakeSocket, open_session

from pve402.hub import connect, errors
from pve402.hub.hub import Hub
from pve402.hub.options import HubOptions
from pve402.hub.outbox import TerminalSocket
from pve402.hub.session import Session
from pve402.proxmox.guests import GuestRef

FIRST, SECOND = (GuestRef(node="one", vmid=vmid) for vmid in (101, 102))
ELSEWHERE = GuestRef(node="two", vmid=103)


class SlowNodes:
    """Opens no terminal, and tells which ones it was asked for."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[GuestRef] = asyncio.Queue()

    async def open_terminal(self, guest: GuestRef) -> TerminalSocket:
        """Begin to open a terminal."""
        self.asked.put_nowait(guest)
        await asyncio.Event().wait()
        raise AssertionError


class SlowlyClosed(FakeSocket):
    """A terminal that is closed when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.is_closing, self.may_close = asyncio.Event(), asyncio.Event()

    async def close(self) -> None:
        """Wait for the word."""
        self.is_closing.set()
        await self.may_close.wait()
        await super().close()


@pytest.fixture
def nodes() -> SlowNodes:
    return SlowNodes()


@pytest.fixture
async def full(nodes: SlowNodes) -> AsyncIterator[Hub]:
    """A hub with one terminal for each node, which is taken on node one."""
    hub = Hub(HubOptions(max_sessions_per_node=1), nodes.open_terminal)
    opening = asyncio.create_task(hub.session(FIRST))
    assert await nodes.asked.get() == FIRST
    yield hub
    opening.cancel()
    await hub.close()


async def test_a_terminal_that_is_being_opened_counts(full: Hub) -> None:
    with pytest.raises(errors.TooManySessions):
        await full.session(SECOND)


async def test_a_full_node_bounds_no_other(full: Hub, nodes: SlowNodes) -> None:
    opening = asyncio.create_task(full.session(ELSEWHERE))

    assert await nodes.asked.get() == ELSEWHERE
    opening.cancel()


async def test_a_second_call_for_one_guest_needs_no_second_terminal(
    full: Hub, nodes: SlowNodes
) -> None:
    waiting = asyncio.create_task(full.session(FIRST))
    await asyncio.sleep(0)

    assert not waiting.done()
    assert nodes.asked.empty()
    waiting.cancel()


async def test_a_terminal_that_is_about_to_be_used_is_not_tidied_away(
    nodes: SlowNodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle, socket = await open_terminals(nodes, monkeypatch)
    opening = asyncio.create_task(idle.session(FIRST))
    async with asyncio.timeout(20):
        await socket.is_closing.wait()
    terminal = idle._guests[FIRST]
    await idle._tidy_guest(FIRST, terminal)
    socket.may_close.set()
    await nodes.asked.get()

    assert idle._guests[FIRST] is terminal
    opening.cancel()
    await idle.close()


async def open_terminals(
    nodes: SlowNodes, monkeypatch: pytest.MonkeyPatch
) -> tuple[Hub, SlowlyClosed]:
    """A hub with one terminal for each node, open on node one and idle, that closes slowly."""
    socket = SlowlyClosed()

    async def opened(_open: object, guest: GuestRef, _options: HubOptions) -> Session:
        if guest == SECOND:
            return open_session(socket)
        await nodes.open_terminal(guest)
        raise AssertionError

    monkeypatch.setattr(connect, "open_session", opened)
    hub = Hub(HubOptions(max_sessions_per_node=1), nodes.open_terminal)
    await hub.session(SECOND)
    return hub, socket
