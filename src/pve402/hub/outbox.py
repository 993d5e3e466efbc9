"""What a session sends: lines in order and within the window, and nudges.

Everything queued in one turn of the loop goes out as one packet.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from pve402.hub.link import Link
from pve402.hub.nudge import Nudge
from pve402.proxmox import termproxy


class TerminalSocket(Protocol):
    """An authenticated terminal: bytes as binary messages, None at the end.

    Sending raises OSError once it is gone.
    """

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes | None: ...

    async def close(self) -> None: ...


class Outbox:
    """Queues and sends for one session."""

    def __init__(self, socket: TerminalSocket, link: Link, clock: Callable[[], float]) -> None:
        self.link = link
        self._socket = socket
        self._clock = clock
        self._wake = asyncio.Event()
        self._nudge = Nudge(self._nudge_soon)
        self._nudges: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def put(self, line: bytes, lane: int = -1) -> None:
        """Queue one line for the agent."""
        self.link.put(line, lane)
        self._wake.set()

    def wake(self) -> None:
        """Check again for something to send."""
        self._wake.set()

    def received(self, *, owed: bool) -> None:
        """Bytes came in; `owed` says whether more will come."""
        self._nudge.received(owed=owed and not self._is_closed)

    async def run(self) -> None:
        """Send until closed. Raises OSError, LinkBroken."""
        while not self._is_closed:
            await self._wake.wait()
            self._wake.clear()
            await self._flush()

    def close(self) -> None:
        """Stop sending."""
        self._is_closed = True
        self._nudge.sent()
        self._wake.set()

    async def _flush(self) -> None:
        packet = self.link.take(self._clock())
        if packet:
            self._nudge.sent()
            await self._socket.send(termproxy.input_packet(packet))

    def _nudge_soon(self) -> None:
        if not self.link.has_waiting and not self._is_closed:
            task = asyncio.create_task(self._send_no_operation())
            self._nudges.add(task)
            task.add_done_callback(self._nudges.discard)

    async def _send_no_operation(self) -> None:
        with suppress(OSError):
            await self._socket.send(termproxy.NO_OPERATION)
