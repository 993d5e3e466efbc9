"""How many guests of a node may hold streams, and what a stream waits for."""

import pytest
from tests.support.fake_agent import FakeTerminal, Faults
from tests.support.simulated_time import simulated_time  # noqa: F401 -- a fixture

from pve402.hub import errors
from pve402.hub.hub import Hub
from pve402.hub.options import HubOptions
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef

CAT = ExecRequest(command="cat")
pytestmark = pytest.mark.usefixtures("simulated_time")


class LastingTerminal(FakeTerminal):
    """Programs with stdin do not end on it."""

    def execute(self, body: bytes) -> None:
        """Take a line; leave a program that was started running."""
        super().execute(b"" if body.startswith(b"xi ") else body)


async def open_terminal(_guest: GuestRef) -> FakeTerminal:
    return LastingTerminal(Faults())


def guest(vmid: int, node: str = "one") -> GuestRef:
    return GuestRef(node=node, vmid=vmid)


async def test_a_node_keeps_terminals_for_commands() -> None:
    options = HubOptions(max_sessions_per_node=4, max_streaming_guests_per_node=2)
    async with Hub(options, open_terminal) as hub:
        held = [await hub.open_stream(guest(vmid), CAT) for vmid in (1, 2)]
        with pytest.raises(errors.NodeConsolesFull):
            await hub.open_stream(guest(3), CAT)

        await hub.session(guest(3))  # a command finds a terminal
        await hub.open_stream(guest(1), CAT)  # a guest that holds one may have more
        await hub.open_stream(guest(4, "two"), CAT)  # other nodes are not full
        assert not any(stream.is_over for stream in held)


async def test_a_refused_stream_leaves_its_place_free() -> None:
    options = HubOptions(max_streaming_guests_per_node=1)
    async with Hub(options, open_terminal) as hub:
        with pytest.raises(errors.RequestRefused):
            await hub.open_stream(guest(1), ExecRequest(command="a\0b"))
        await hub.open_stream(guest(2), CAT)
