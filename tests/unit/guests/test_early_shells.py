"""Shells that are opened before their guests' first commands."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.unit.hub.test_hostile_guest import FakeSocket, open_session

from pve402.guests import early_shells
from pve402.hub import connect, errors
from pve402.hub.hub import Hub
from pve402.hub.options import HubOptions
from pve402.hub.outbox import TerminalSocket
from pve402.hub.session import Session
from pve402.proxmox.guests import GuestRef

GUESTS = [GuestRef(node="pve", vmid=vmid) for vmid in range(101, 200)]


class Terminals:
    """Opens terminals when the test says so, and tells which ones it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[GuestRef] = []
        self.may_open = asyncio.Event()
        self.refuses = False
        monkeypatch.setattr(connect, "open_session", self.open_session)

    async def open_terminal(self, _guest: GuestRef) -> TerminalSocket:
        """Stand for Proxmox VE."""
        return FakeSocket()

    async def open_session(self, _open: object, guest: GuestRef, _options: HubOptions) -> Session:
        """Take the place of `connect.open_session`."""
        self.asked.append(guest)
        await self.may_open.wait()
        if self.refuses:
            raise errors.TerminalUnreachable
        return open_session(FakeSocket())


@pytest.fixture
def terminals(monkeypatch: pytest.MonkeyPatch) -> Terminals:
    return Terminals(monkeypatch)


@pytest.fixture
async def hub(terminals: Terminals) -> AsyncIterator[Hub]:
    made = Hub(HubOptions(max_sessions_per_node=40), terminals.open_terminal)
    yield made
    await made.close()


async def turns() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_first_command_waits_for_the_shell_that_is_being_opened(
    hub: Hub, terminals: Terminals
) -> None:
    early = early_shells.EarlyShells(hub)
    early.open(GUESTS[0])
    await turns()

    command = asyncio.create_task(hub.session(GUESTS[0]))
    await turns()
    terminals.may_open.set()
    await command

    assert terminals.asked == [GUESTS[0]]
    assert hub.open_sessions == 1


async def test_a_shell_that_does_not_open_is_left_to_the_first_command(
    hub: Hub, terminals: Terminals
) -> None:
    terminals.refuses = True
    terminals.may_open.set()
    early = early_shells.EarlyShells(hub)
    early.open(GUESTS[0])
    await turns()
    terminals.refuses = False

    await hub.session(GUESTS[0])

    assert terminals.asked == [GUESTS[0], GUESTS[0]]


async def test_a_shell_that_is_given_up_is_not_opened(hub: Hub, terminals: Terminals) -> None:
    early = early_shells.EarlyShells(hub)
    early.open(GUESTS[0])
    await turns()

    await early.drop(GUESTS[0])
    terminals.may_open.set()
    await turns()

    assert hub.open_sessions == 0


async def test_only_so_many_are_opened_at_once(hub: Hub, terminals: Terminals) -> None:
    early = early_shells.EarlyShells(hub)

    for guest in GUESTS:
        early.open(guest)
    await turns()
    first = len(terminals.asked)
    terminals.may_open.set()
    await turns()
    for guest in GUESTS[early_shells.AT_ONCE :]:
        early.open(guest)
    await turns()

    assert first == early_shells.AT_ONCE
    assert hub.open_sessions == 40  # no terminal is taken from another guest


async def test_closing_gives_all_of_them_up(hub: Hub, terminals: Terminals) -> None:
    early = early_shells.EarlyShells(hub)
    early.open(GUESTS[0])
    await turns()

    await early.close()

    assert terminals.asked == [GUESTS[0]]
    assert hub.open_sessions == 0
