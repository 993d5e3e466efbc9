"""Terminals are bounded on each node by itself, those that are still being opened among them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from pve402.hub import errors
from pve402.hub.hub import Hub
from pve402.hub.options import HubOptions
from pve402.hub.session import TerminalSocket
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
    hub, goes_on = Hub(HubOptions(), nodes.open_terminal), asyncio.Event()

    async def slow(_: GuestRef) -> None:
        await goes_on.wait()

    monkeypatch.setattr(hub, "_make_room", slow)
    opening = asyncio.create_task(hub.session(FIRST))
    await asyncio.sleep(0)
    (terminal,) = hub._guests.values()
    await hub._tidy_guest(FIRST, terminal)
    goes_on.set()
    await nodes.asked.get()

    assert hub._guests == {FIRST: terminal}
    opening.cancel()
    await hub.close()
