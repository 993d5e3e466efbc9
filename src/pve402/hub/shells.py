"""The two ways to get an interactive shell in a guest, behind one interface.

`SharedShell` runs alongside the session's programs, on a pseudo terminal made by whatever tool
the guest has for that; its output travels unframed, its input in our lines. `SoleShell` is for
guests without such a tool: it uses the terminal itself, without our agent.
"""

import asyncio
import re
import shlex
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Protocol

from pve402.hub import agent, errors, quoting
from pve402.hub.batching import BatchedReader
from pve402.hub.channels import Channel
from pve402.hub.nudge import Nudge
from pve402.hub.outbox import TerminalSocket
from pve402.hub.request import EventKind
from pve402.hub.session import Session
from pve402.proxmox import termproxy

Output = Callable[[bytes], None]
Ended = Callable[[str], None]

#: Sole shell: input is sent in pieces, because nothing acknowledges it.
_SOLE_PIECE_BYTES = 1024
_SOLE_PAUSE_SECONDS = 0.01
#: A plain key only produces its echo; after Enter and similar keys more output may follow.
_CONTROL = re.compile(rb"[\x00-\x1f]")
_MORE_SECONDS = 0.5
_ATTACH_SECONDS = 0.3
_QUIET_SECONDS = 0.03

# Runs on the new terminal: reports its name, resets its state, becomes root's shell.
_INNER = (
    'tty >"$PVE402_Y.y";echo $$ >"$PVE402_Y.p";unset PVE402_Y;stty sane rows {rows} cols {columns};'
    "TERM=xterm-256color;export TERM;"
    'while IFS=: read -r _u _p _i _g _n _h _s;do [ "$_u" = root ]&&break;done </etc/passwd;'
    '[ -x "$_s" ]||_s=/bin/sh;SHELL=$_s;export SHELL;cd;exec "$_s" -il'
)
# Python ignores these two signals, and the shell would inherit that.
PYTHON = (
    "import os,pty,signal as s,sys;s.signal(s.SIGPIPE,s.SIG_DFL);s.signal(s.SIGXFSZ,s.SIG_DFL);"
    "sys.exit(os.waitstatus_to_exitcode(pty.spawn(['sh','-c',sys.argv[1]])))"
)
# Runs in the agent, with the place of its files, the above, and perhaps a file of variables.
_OUTER = '[ -z "${3-}" ]||. "$3";PVE402_Y=$1;export PVE402_Y;exec '
_TOOLS = {
    "script": 'script -qfc "$2" /dev/null',
    "python3": f'python3 -c "{PYTHON}" "$2"',
}


class Shell(Protocol):
    """An interactive shell on a terminal."""

    async def write(self, data: bytes) -> None: ...

    def resize(self, columns: int, rows: int) -> None: ...

    async def close(self) -> None: ...


class SharedShell:
    """A shell on a pseudo terminal of its own, over the session."""

    def __init__(
        self,
        session: Session,
        size: tuple[int, int],
        *,
        variables: str = "",
        output: Output,
        ended: Ended,
    ) -> None:
        self._session = session
        self._ended = ended
        self._lock = asyncio.Lock()
        tool = next(tool for tool in _TOOLS if tool in session.hello.tools)
        inner = _INNER.format(columns=size[0], rows=size[1])
        carrier = shlex.quote(_OUTER + _TOOLS[tool])
        command = f'exec sh -c {carrier} sh "$D/$s" {shlex.quote(inner)} {variables}'
        self._channel: Channel = session.open_console(self, command)
        session.outside = output

    @staticmethod
    def is_possible(session: Session) -> bool:
        """Whether the guest has a program that can open a pseudo terminal."""
        return any(tool in session.hello.tools for tool in _TOOLS)

    async def write(self, data: bytes) -> None:
        """Type bytes no faster than the shell's terminal takes them."""
        async with self._lock:
            for piece in quoting.formats(data):
                await self._channel.stdin_credit.acquire()
                if self._channel.stdin_closed:
                    return
                self._session.echo_owed = True
                self._session.send_stdin(self._channel, piece)

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the pseudo terminal."""
        self._session.put(agent.resize(self._channel.name, columns, rows), self._channel)

    async def close(self) -> None:
        """Hang up."""
        if not self._channel.is_over:
            await self._session.signal(self._channel, "HUP")
            self._session.abandon(self._channel)

    def add_output(self, kind: EventKind, data: bytes) -> bool:
        """A console has no framed output."""
        raise errors.OutputDamaged

    def finish(self, exit_code: int) -> None:
        """The shell ended."""
        self._over("exit")

    def fail(self, error: errors.HubError) -> None:
        """The session ended, or the agent sent nonsense."""
        self._over("session_lost")

    def _over(self, reason: str) -> None:
        self._session.outside = None
        self._ended(reason)


class SoleShell:
    """The guest's terminal itself."""

    def __init__(self, socket: TerminalSocket, *, output: Output, ended: Ended) -> None:
        self._socket = socket
        self._output = output
        self._ended = ended
        self._lock = asyncio.Lock()
        self._trailer = termproxy.TrailerFinder()
        self._returns = termproxy.SingleReturns()
        self._nudge = Nudge(lambda: self._spawn(self._send(termproxy.NO_OPERATION)))
        self._tasks: set[asyncio.Task[None]] = set()
        self._attached = asyncio.Event()
        self._heard = asyncio.Event()
        self._more_until = 0.0
        self._spawn(self._read())
        self._spawn(self._wait_until_attached())

    async def write(self, data: bytes) -> None:
        """Type bytes, slowly enough for a terminal that acknowledges nothing."""
        async with self._lock:
            await self._attached.wait()
            if _CONTROL.search(data):
                self._more_until = asyncio.get_running_loop().time() + _MORE_SECONDS
            for start in range(0, len(data), _SOLE_PIECE_BYTES):
                if start:
                    await asyncio.sleep(_SOLE_PAUSE_SECONDS)
                # This byte would detach us at the start of a chunk.
                piece = data[start : start + _SOLE_PIECE_BYTES].replace(b"\x1c", b"")
                if piece:
                    await self._send(termproxy.input_packet(piece))

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the terminal."""
        self._spawn(self._send(termproxy.resize_packet(columns, rows)))

    async def close(self) -> None:
        """Leave; the next session ends whatever runs on the terminal."""
        for task in tuple(self._tasks):
            task.cancel()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._socket.close()

    async def _read(self) -> None:
        await BatchedReader(self._socket, self._receive).run()
        self._pass_on(self._returns.rest())
        self._ended("exit")

    def _receive(self, data: bytes) -> None:
        self._heard.set()
        self._pass_on(self._returns.feed(data))
        if self._trailer.feed(data) is not None:
            self._ended("exit")
        self._nudge.received(owed=asyncio.get_running_loop().time() < self._more_until)

    def _pass_on(self, output: bytes) -> None:
        if output:
            self._output(output)

    async def _wait_until_attached(self) -> None:
        """Wait for the shell's prompt; anything typed before it is lost."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_ATTACH_SECONDS):
                await self._heard.wait()
                await self._until_quiet()
        self._attached.set()

    async def _until_quiet(self) -> None:
        while self._heard.is_set():
            self._heard.clear()
            await asyncio.sleep(_QUIET_SECONDS)

    async def _send(self, packet: bytes) -> None:
        with suppress(OSError):
            await self._socket.send(packet)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
