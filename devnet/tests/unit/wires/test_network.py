"""What a node's network does when it is told several things at once."""

import asyncio
from collections.abc import Sequence

from pve402_devnet.wires.namespace import Namespace
from pve402_devnet.wires.network import NodeNetwork


class Nobody:
    """No guest has a namespace."""

    def process_of(self, vmid: int) -> int | None:
        """Stand for the guests' runtime."""
        return None

    def live_within(self, process: int) -> None:
        """No guest will come."""


class SlowNode(Namespace):
    """Takes its time for the first script, and notes in which order scripts came to hold."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[str] = []
        self.may_go_on = asyncio.Event()

    async def run(self, command: Sequence[str], text: str = "", *, pid: int | None = None) -> str:
        """Take the place of a program in the namespace."""
        if not self.held and text == "before":
            await self.may_go_on.wait()
        self.held.append(text)
        return ""


async def test_of_two_filters_at_once_the_last_one_stays() -> None:
    network = NodeNetwork(Nobody())
    node = network.node = SlowNode()
    first = asyncio.ensure_future(network.filter("before"))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(network.filter("after"))
    await asyncio.sleep(0)

    node.may_go_on.set()
    await asyncio.gather(first, second)

    assert node.held == ["before", "after"]
