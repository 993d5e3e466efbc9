"""A guest's terminal in memory, with an agent that ends every program at once.

It boots as guest/agent.sh does, answers each call of a program with its end, and may be told to
fail at the nth thing that is asked of it.
"""

import asyncio
import re

from pve402.hub import agent
from pve402.proxmox.guests import GuestRef
from pve402_devnet.terminal.packets import Input, PacketReader

_BOOT = re.compile(rb"_%s b\\033\\\\\" ([0-9a-f]{8});")
_CALL = re.compile(rb"(?:x|xi|xc) (\d+\.\d+)\b.*")


class Faults:
    """Raises an error at one of the steps that are counted here."""

    def __init__(self) -> None:
        self.steps = 0
        self._at = 0
        self._error: type[BaseException] = ConnectionError
        self._task: asyncio.Task[object] | None = None

    def arm(self, at: int, error: type[BaseException]) -> None:
        """Raise `error` at the step of this number; a cancellation only in the present task."""
        self.steps, self._at, self._error = 0, at, error
        self._task = asyncio.current_task() if error is asyncio.CancelledError else None

    def disarm(self) -> None:
        """Raise nothing any more."""
        self._at = 0

    def step(self) -> None:
        """Something is asked for."""
        if self._task is not None and asyncio.current_task() is not self._task:
            return
        self.steps += 1
        if self.steps == self._at:
            raise self._error


class FakeTerminal:
    """One console of the guest."""

    def __init__(self, faults: Faults) -> None:
        self.is_closed = False
        self.lines: list[bytes] = []
        self._faults = faults
        self._incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._packets = PacketReader(strict=False)
        self._typed = b""
        self._mark = b""
        self._nonce = self._coming_nonce = b""
        self._next = 0
        self._incoming.put_nowait(b"# ")

    async def send(self, data: bytes) -> None:
        """Take packets, as termproxy does."""
        self._faults.step()
        if self.is_closed:
            raise ConnectionError
        for event in self._packets.feed(data):
            if isinstance(event, Input):
                self._typed += event.data.replace(b"\n", b"\r")
        *lines, self._typed = self._typed.split(b"\r")
        for line in lines:
            self._read(line)

    async def receive(self) -> bytes | None:
        """What the terminal prints next; None at its end."""
        self._faults.step()
        return await self._incoming.get()

    async def close(self) -> None:
        """Hang up."""
        self.is_closed = True
        self._incoming.put_nowait(None)
        self._faults.step()

    def say(self, *fields: str) -> None:
        """Print one frame."""
        text = " ".join(fields)
        self._incoming.put_nowait(f"\x1b_{self._nonce.decode()} {text}\x1b\\".encode())

    def _read(self, line: bytes) -> None:
        if self._nonce and line.startswith(self._nonce):
            self.execute(line.split(b" ", 2)[2].rpartition(b" ")[0])
        elif agent.QUIT_LINE in line and self._nonce:
            self._incoming.put_nowait(None)
        elif found := _BOOT.search(line):
            self._mark = found[1]
            self._incoming.put_nowait(agent.started(self._mark.decode()))
        elif self._mark and line.startswith(self._mark):
            self._load(line.removeprefix(self._mark + b"."))

    def _load(self, line: bytes) -> None:
        if line.startswith(b"K="):
            self._coming_nonce = line.removeprefix(b"K=")
        elif line == b"k":
            self._incoming.put_nowait(agent.loaded(self._mark.decode()))
        elif line == b"e":
            self._nonce = self._coming_nonce
            self.say("H", "1", "base64", "/run,setsid")

    def execute(self, body: bytes) -> None:
        """Do what a line asks for."""
        self._next += 1
        self.lines.append(body)
        if found := _CALL.fullmatch(body):
            self.say("X", found[1].decode(), str(self._next), "0", "0", "0")
        elif body.endswith((b";a", b"h")):
            self.say("A", str(self._next))


class FakeGuests:
    """Opens terminals of guests and keeps them to be looked at."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.terminals: list[FakeTerminal] = []

    async def open_terminal(self, guest: GuestRef) -> FakeTerminal:
        """Open a console of a guest."""
        self.faults.step()
        self.terminals.append(FakeTerminal(self.faults))
        return self.terminals[-1]

    @property
    def open_terminals(self) -> int:
        """How many consoles are open."""
        return sum(not terminal.is_closed for terminal in self.terminals)
