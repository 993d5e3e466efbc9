"""The interactive console of a guest: one shell, any number of windows onto it.

Each window sees all output and may type, as with Proxmox's own consoles. A window that opens
later first gets the most recent output. A window that reads too slowly loses output, with a
notice, so that our memory stays bounded.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from pve402.hub import connect, errors
from pve402.hub.options import HubOptions
from pve402.hub.session import Session
from pve402.hub.shells import SharedShell, Shell, SoleShell
from pve402.proxmox import termproxy

if TYPE_CHECKING:
    from pve402.hub.guest_state import GuestState

#: Output kept for windows that open later.
_REPLAY_BYTES = 64 * 1024
#: Output that may be queued for one window.
_WINDOW_BYTES = 1024 * 1024
_SKIPPED = b"\r\n\x1b[0m[output skipped]\r\n"
#: How long the shell outlives its last window, so that a browser can reconnect.
_LINGER_SECONDS = 60.0
_MAX_WINDOWS = 16


FindGuest = Callable[[], Awaitable["GuestState"]]
GiveVariables = Callable[["GuestState", Session], Awaitable[str]]


class ConsoleChannel:
    """One window onto a guest's console."""

    def __init__(self, console: "Console") -> None:
        #: Why it was closed: exit, session_lost, ended, or closed; empty while open.
        self.close_reason = ""
        self._console = console
        self._pieces: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = asyncio.Event()

    async def write(self, data: bytes) -> None:
        """Type bytes into the shell; waits until the shell takes them."""
        if not self.close_reason:
            await self._console.write(data)

    async def read(self) -> bytes | None:
        """All output waiting for this window; None once the console is closed."""
        while not self._pieces:
            if self.close_reason:
                return None
            self._changed.clear()
            await self._changed.wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._waiting_bytes = 0
        return data

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the shell's terminal; the last window to set it wins."""
        if not self.close_reason:
            self._console.resize(columns, rows)

    async def close(self) -> None:
        """Close this window; the shell keeps running for a while."""
        await self._console.detach(self, "closed")

    def take(self, data: bytes) -> None:
        """Queue output for this window."""
        self._pieces.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _WINDOW_BYTES:
            self._skip()
        self._changed.set()

    def _skip(self) -> None:
        """Keep only the end of the queued output: only the latest screen matters."""
        last = b"".join(self._pieces)[-_REPLAY_BYTES:]
        self._pieces = deque([_SKIPPED, last])
        self._waiting_bytes = len(_SKIPPED) + len(last)

    def end(self, reason: str) -> None:
        """Mark the end of the output."""
        self.close_reason = self.close_reason or reason
        self._changed.set()


class Console:
    """The shell of one guest and its windows."""

    def __init__(
        self,
        find_guest: FindGuest,
        open_terminal: connect.OpenTerminal,
        options: HubOptions,
        give_variables: GiveVariables,
    ) -> None:
        self.is_over = False
        self._find_guest = find_guest
        self._give_variables = give_variables
        self._open_terminal = open_terminal
        self._options = options
        self._shell: Shell | None = None
        self._windows: set[ConsoleChannel] = set()
        self._replay = bytearray()
        self._left = asyncio.Event()
        self._lock = asyncio.Lock()
        self._holding = AsyncExitStack()
        self._lingering: asyncio.Task[None] | None = None

    @property
    def is_gone(self) -> bool:
        """Whether it has ended, or could not be opened."""
        return self.is_over or (self._shell is None and not self._lock.locked())

    @property
    def is_left(self) -> bool:
        """Whether no window is open and the shell only waits for one to reconnect."""
        return not self._windows and not self._lock.locked()

    async def attach(self, columns: int, rows: int) -> ConsoleChannel:
        """Open a window; the first one starts the shell.

        Raises Unavailable, SessionFailed, TooManyCommands.
        """
        columns, rows = termproxy.clamp_size(columns, rows)
        async with self._lock:
            if len(self._windows) >= _MAX_WINDOWS:
                raise errors.TooManyCommands("too many windows onto this console")
            first = self._shell is None
            if self._shell is None:
                await self._open(columns, rows)
            if self._lingering is not None:
                self._lingering.cancel()
                self._lingering = None
        window = ConsoleChannel(self)
        if self._replay:
            window.take(bytes(self._replay))
        if self.is_over:
            window.end("exit")
            return window
        self._windows.add(window)
        self._left.clear()
        if not first:
            self.resize(columns, rows)
        return window

    async def write(self, data: bytes) -> None:
        """Type into the shell."""
        if self._shell is not None and not self.is_over:
            await self._shell.write(data)

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the shell's terminal."""
        if self._shell is not None and not self.is_over:
            self._shell.resize(columns, rows)

    async def detach(self, window: ConsoleChannel, reason: str) -> None:
        """Close a window; after the last one the shell lingers for a while."""
        self._windows.discard(window)
        window.end(reason)
        if not self._windows:
            self._left.set()
        if not self._windows and not self.is_over and self._lingering is None:
            self._lingering = asyncio.create_task(self._linger())

    async def close_if_left(self) -> bool:
        """End the shell once its last window is closed; returns whether it is over.

        We see only after a moment that a client has closed its window.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.let_go_seconds):
                await self._left.wait()
        if self.is_left:
            await self.close("closed")
        return self.is_over

    async def close(self, reason: str) -> None:
        """End the shell and all windows."""
        self._end(reason)
        if self._lingering is not None and self._lingering is not asyncio.current_task():
            self._lingering.cancel()
        if self._shell is not None:
            await self._shell.close()
        await self._holding.aclose()

    async def _open(self, columns: int, rows: int) -> None:
        # Looked up each time, as a console that could not be opened may outlive its guest's state.
        guest = await self._find_guest()
        session = await guest.session()
        if SharedShell.is_possible(session):
            variables = await self._give_variables(guest, session)
            size = (columns, rows)
            self._shell = SharedShell(
                session, size, variables=variables, output=self._output, ended=self._end
            )
            return
        await self._holding.enter_async_context(guest.held("console"))
        try:
            socket = await self._open_terminal(guest.guest)
        except BaseException:
            await self._holding.aclose()
            raise
        self._shell = SoleShell(socket, output=self._output, ended=self._end)
        self._shell.resize(columns, rows)

    async def _linger(self) -> None:
        await asyncio.sleep(_LINGER_SECONDS)
        await self.close("closed")

    def _output(self, data: bytes) -> None:
        self._replay += data[-_REPLAY_BYTES:]
        if len(self._replay) > 2 * _REPLAY_BYTES:
            del self._replay[:-_REPLAY_BYTES]
        for window in self._windows:
            window.take(data)

    def _end(self, reason: str) -> None:
        if self.is_over:
            return
        self.is_over = True
        for window in self._windows:
            window.end(reason)
        self._windows.clear()
        if isinstance(self._shell, SoleShell):
            self._lingering = asyncio.create_task(self._let_go(self._shell))

    async def _let_go(self, shell: Shell) -> None:
        await self._holding.aclose()
        await shell.close()
