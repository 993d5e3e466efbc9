"""Processes of a sandbox: started on streams into its container, and known by their pids.

A process outlives the calls that follow it. What it writes while nobody follows is dropped, as
E2B's agent does. While somebody follows who does not read, it waits. Its first line is ours: it
tells the pid.
"""

import asyncio
import contextlib
import re
import shlex
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pve402 import client, schemas
from pve402.client import streams
from pve402.e2b import guests, refusals

Kind = Literal["stdout", "stderr", "pty"]

# Arguments: whether it has stdin, its folder, the program and its arguments.
_START: Final = (
    'cd -- "$2" 2>/dev/null || { echo F; exit 126; }; i=$1; shift 2; echo "P$$";'
    ' [ "$i" ] || exec </dev/null; exec "$@"'
)
# Arguments: the folder, the program on a terminal as text for a shell.
_START_ON_TERMINAL: Final = (
    'cd -- "$1" 2>/dev/null || { echo F; exit 126; };'
    " command -v script >/dev/null || { echo T; exit 127; };"
    ' exec script -qefc "$2" /dev/null'
)
_FIRST_LINE: Final = re.compile(rb"P(\d{1,9})\r?\n")
_NO_START: Final = {
    b"F\n": ("invalid_argument", "the working folder {} does not exist"),
    b"T\n": ("unimplemented", "the container cannot make a terminal; install util-linux in it"),
}
_LONGEST_FIRST: Final = 4096
_MOST_WAITING: Final = 16
_START_SECONDS: Final = 50.0
_END_SECONDS: Final = 5.0
_MOST_COLUMNS: Final = 1000


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to run."""

    words: list[str] = field(repr=False)
    envs: dict[str, str] = field(repr=False)
    folder: str
    user: str
    tag: str | None = None
    has_stdin: bool = True
    #: Columns and rows of its terminal.
    size: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Piece:
    """What a process wrote."""

    kind: Kind
    data: bytes = field(repr=False)


Queue = asyncio.Queue[Piece | None]


class Process:
    """A process that was started here."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.pid = 0
        self.exit_code: int | None = None
        #: Why its outcome is not known.
        self.error: client.ClientError | None = None
        self.stream: streams.Stream | None = None
        self.has_started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self._head = b""
        self._followers: set[Queue] = set()

    @contextlib.contextmanager
    def followed(self) -> Iterator[Queue]:
        """Follow it for the block: yields a queue of what it writes, and None at its end."""
        queue: Queue = asyncio.Queue(_MOST_WAITING)
        self._followers.add(queue)
        if self.ended.is_set():
            queue.put_nowait(None)
        try:
            yield queue
        finally:
            self._followers.discard(queue)
            while not queue.empty():  # whoever waits to put something goes on
                queue.get_nowait()

    async def run(self, service: client.Client, lease_id: str) -> None:
        """Run it to its end."""
        try:
            async with streams.opened(service, lease_id, _wish(self.config)) as stream:
                self.stream = stream
                async with aclosing(stream.output()) as output:
                    async for piece in output:
                        await self._take(piece)
                self.exit_code = stream.exit_code
        except client.ClientError as error:
            self.error = error
        finally:
            self._refuse_start()
            self.ended.set()
            for queue in tuple(self._followers):
                with contextlib.suppress(asyncio.CancelledError):
                    await queue.put(None)

    async def _take(self, piece: client.commands.Output) -> None:
        data = piece.data
        if not self.pid and piece.stream == "stdout":
            data = self._started(data)
        kind: Kind = "pty" if self.config.size else piece.stream
        if data:
            for queue in tuple(self._followers):
                await queue.put(Piece(kind=kind, data=data))

    def _started(self, data: bytes) -> bytes:
        """Read the first line, and return what is behind it."""
        self._head += data
        line, end, rest = self._head.partition(b"\n")
        if not end and len(line) < _LONGEST_FIRST:
            return b""
        found = _FIRST_LINE.fullmatch(line + end)
        if found is not None:
            self.pid, self._head = int(found[1]), b""
            self.has_started.set_result(None)
            return rest
        self._head = line + end
        if self._head not in _NO_START:
            raise client.UnexpectedAnswer("the container does not start programs as it should")
        return b""

    def _refuse_start(self) -> None:
        if self.has_started.done():
            return
        code, text = _NO_START.get(self._head, ("internal", "the process could not be started"))
        if isinstance(self.error, client.ClientError):
            self.has_started.set_exception(self.error)
        else:
            told = text.format(client.plain(self.config.folder, 200))
            self.has_started.set_exception(refusals.Refused(code, told))


class Table:
    """The processes of one sandbox."""

    def __init__(self, service: client.Client, lease_id: str, guest: guests.Guest) -> None:
        self._service = service
        self._lease_id = lease_id
        self._guest = guest
        self._processes: dict[int, Process] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        #: Cut the connections of those who follow something here.
        self.cuts: set[Callable[[], None]] = set()

    async def start(self, process: Process) -> None:
        """Start a process. Raises Refused, ClientError."""
        task = asyncio.create_task(process.run(self._service, self._lease_id))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._over(done, process))
        try:
            async with asyncio.timeout(_START_SECONDS):
                await asyncio.shield(process.has_started)
        except TimeoutError:
            task.cancel()
            raise refusals.Refused("internal", "the container did not start it in time") from None
        if not process.ended.is_set():  # or nobody would take it out again
            self._processes[process.pid] = process

    def running(self) -> list[Process]:
        """The processes that run."""
        return [one for one in self._processes.values() if not one.ended.is_set()]

    def find(self, selector: Mapping[str, Any]) -> Process:
        """A process that runs, by its pid or tag. Raises Refused."""
        pid, tag = selector.get("pid"), selector.get("tag")
        for one in self.running():
            if one.pid == pid or (pid is None and tag is not None and one.config.tag == tag):
                return one
        raise refusals.Refused("not_found", "no such process runs")

    async def signal(self, process: Process, name: str) -> None:
        """Send KILL or TERM; after KILL it has ended. Raises ClientError."""
        await self._guest.signal(process.pid, name)
        if name == "KILL":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await process.ended.wait()

    async def resize(self, process: Process, columns: int, rows: int) -> None:
        """Set the size of its terminal. Raises ClientError."""
        await self._guest.resize(process.pid, *clamped(columns, rows))

    async def cut(self) -> None:
        """The sandbox is over: those who follow are cut off."""
        for cut in tuple(self.cuts):
            cut()
        await self.close()

    async def close(self) -> None:
        """Let go of the processes; they run on in the container, if there is one."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _over(self, task: asyncio.Task[None], process: Process) -> None:
        self._tasks.discard(task)
        if self._processes.get(process.pid) is process:
            del self._processes[process.pid]
        if process.has_started.done() and not process.has_started.cancelled():
            process.has_started.exception()  # it was told, or nobody waits for it


def clamped(columns: int, rows: int) -> tuple[int, int]:
    """A terminal's size within bounds; 0, which clients without a window send, is the usual."""
    return min(columns or 80, _MOST_COLUMNS), min(rows or 24, _MOST_COLUMNS)


async def pieces(queue: Queue, quiet_seconds: float) -> AsyncGenerator[Piece | None]:
    """Yield what comes, and None whenever nothing came for so long; ends with the process."""
    while True:
        try:
            async with asyncio.timeout(quiet_seconds):
                piece = await queue.get()
        except TimeoutError:
            yield None
            continue
        if piece is None:
            return
        yield piece


def _wish(config: Config) -> schemas.StreamSocketRequest:
    if config.size is None:
        stdin = "1" if config.has_stdin else ""
        argv = ["sh", "-c", _START, "sh", stdin, config.folder, *config.words]
    else:
        columns, rows = clamped(*config.size)
        inner = f"stty cols {columns} rows {rows};echo P$$;exec {shlex.join(config.words)}"
        argv = ["sh", "-c", _START_ON_TERMINAL, "sh", config.folder, inner]
    try:
        return schemas.StreamSocketRequest(
            argv=argv, env=config.envs, user="" if config.user == "root" else config.user
        )
    except ValueError:
        raise client.RequestInvalid("the command or its variables are too long") from None
