"""Opening a session on a terminal that the guest floods."""

import asyncio

import pytest

from pve402.hub import connect, errors
from pve402.hub.options import HubOptions
from pve402.proxmox.guests import GuestRef

GUEST = GuestRef(node="pve", vmid=100)


class Flooded:
    """A terminal with much output waiting, so that no read of it ever waits; then it ends."""

    def __init__(self, pieces: int) -> None:
        self.left = pieces

    async def send(self, data: bytes) -> None:
        pass

    async def receive(self) -> bytes | None:
        if not self.left:
            return None
        self.left -= 1
        return b"\x1b_0123456789ab o\xff\x1b\\" * 100

    async def close(self) -> None:
        pass


async def test_a_flooded_terminal_holds_up_nobody_else() -> None:
    terminals, turns = [Flooded(200) for _ in range(4)], 0
    waiting = list(terminals)

    async def open_terminal(_guest: GuestRef) -> Flooded:
        return waiting.pop()

    async def somebody_else() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    neighbour = asyncio.create_task(somebody_else())
    with pytest.raises(errors.TerminalUnreachable):
        await connect.open_session(open_terminal, GUEST, HubOptions())
    neighbour.cancel()

    assert not any(terminal.left for terminal in terminals)
    assert turns > 4 * 150
