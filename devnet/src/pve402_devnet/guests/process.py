"""One running guest as seen from outside: its launcher process and the channel to its process 1."""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

import pve402_devnet
from pve402_devnet.guests import wire

logger = structlog.get_logger(__name__)

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "container": "lxc",
}
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[2]);"
    "from pve402_devnet.guests import launcher; sys.exit(launcher.main(int(sys.argv[1])))"
)


@dataclass(frozen=True, kw_only=True)
class Started:
    """A program inside the guest; `exit_code` is negative if a signal ended it."""

    pid: int
    exit_code: asyncio.Future[int]
    terminal: int | None = None


class GuestProcess:
    """The process tree of one guest. All methods belong to one event loop."""

    def __init__(self, plan: wire.Message, disk: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._plan = plan
        self._replies: dict[int, asyncio.Future[Started]] = {}
        self._children: dict[int, asyncio.Future[int]] = {}
        self._numbers = itertools.count(1)
        self._running: asyncio.Future[None] = self._loop.create_future()
        # By the time it fails, nobody may be waiting for it.
        self._running.add_done_callback(lambda running: running.exception())
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self._control, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with inner:
            self._launcher = _launch(inner.fileno(), disk)
        self.pid = self._launcher.pid
        self._pidfd = os.pidfd_open(self._launcher.pid)
        self._loop.add_reader(self._pidfd, self._on_end)
        self._loop.add_reader(self._control, self._on_message)

    async def wait_until_running(self, limit_seconds: float) -> None:
        """Send the plan and wait for process 1; RuntimeError says why it did not come up."""
        wire.send(self._control, {**self._plan, "runtime_pid": os.getpid()})
        try:
            async with asyncio.timeout(limit_seconds):
                await asyncio.shield(self._running)
        except TimeoutError as error:
            raise RuntimeError("startup for container failed: timeout") from error

    async def open_terminal(
        self, argv: Sequence[str], *, login: bool, columns: int, rows: int
    ) -> Started:
        """Start a program on a new terminal of the guest; the caller owns `terminal`."""
        order = {"order": "terminal", "login": login, "columns": columns, "rows": rows}
        return await self._ask(order, argv)

    async def run(self, argv: Sequence[str], output: int) -> Started:
        """Start a program that writes to the descriptor `output`, which stays the caller's."""
        return await self._ask({"order": "run"}, argv, output)

    async def shutdown(self, limit_seconds: float) -> bool:
        """Ask process 1 to end; False if it had not after the limit."""
        with contextlib.suppress(wire.WireClosed, OSError):
            wire.send(self._control, {"order": "shutdown"})
        await asyncio.wait([self.ended], timeout=limit_seconds)
        return self.ended.done()

    async def kill(self) -> None:
        """Kill the guest; returns once none of its processes is left."""
        if not self.ended.done():
            self._launcher.send_signal(signal.SIGTERM)
            # A launcher that has no process 1 yet only waits for us.
            with contextlib.suppress(OSError):
                self._control.shutdown(socket.SHUT_RDWR)
        await asyncio.shield(self.ended)

    async def _ask(
        self, order: wire.Message, argv: Sequence[str], descriptor: int | None = None
    ) -> Started:
        number = next(self._numbers)
        reply: asyncio.Future[Started] = self._loop.create_future()
        self._replies[number] = reply
        order |= {"id": number, "argv": list(argv), "environment": ENVIRONMENT}
        try:
            wire.send(self._control, order, descriptor)
            return await reply
        except (wire.WireClosed, wire.WireError, OSError) as error:
            raise RuntimeError("the container does not answer") from error
        finally:
            self._replies.pop(number, None)

    def _on_message(self) -> None:
        try:
            message, descriptor = wire.receive(self._control)
        except (wire.WireClosed, wire.WireError):
            self._loop.remove_reader(self._control)
            return
        try:
            self._take(message, descriptor)
        except (KeyError, TypeError, OSError) as error:
            # Only a process 1 that the guest has taken over sends such messages.
            logger.warning("guest_message_refused", error=type(error).__name__)

    def _take(self, message: wire.Message, descriptor: int | None) -> None:
        if "reply" in message:
            self._on_reply(message, descriptor)
        elif message["event"] == "exit":
            self._on_exit(message["pid"], message["code"])
        elif message["event"] == "unshared":
            self._map_ids(*self._plan["outside_ids"])
        elif message["event"] == "running":
            self._note_running()
        elif message["event"] == "failed":
            self._fail(message["text"])

    def _on_reply(self, message: wire.Message, terminal: int | None) -> None:
        waiting = self._replies.get(message["reply"])
        if waiting is None or waiting.done():
            if terminal is not None:
                os.close(terminal)
            return
        if "error" in message:
            waiting.set_exception(RuntimeError(message["error"]))
            return
        exit_code = self._children[message["pid"]] = self._loop.create_future()
        waiting.set_result(Started(pid=message["pid"], exit_code=exit_code, terminal=terminal))

    def _on_exit(self, pid: int, code: int) -> None:
        waiting = self._children.pop(pid, None)
        if waiting and not waiting.done():
            waiting.set_result(code)

    def _map_ids(self, first: int, count: int) -> None:
        process = Path(f"/proc/{self._launcher.pid}")
        (process / "uid_map").write_text(f"0 {first} {count}")
        (process / "gid_map").write_text(f"0 {first} {count}")
        wire.send(self._control, {"order": "mapped"})

    def _note_running(self) -> None:
        if not self._running.done():
            self._running.set_result(None)

    def _fail(self, text: str) -> None:
        logger.warning("guest_start_failed", text=text)
        if not self._running.done():
            self._running.set_exception(RuntimeError(text.strip().rpartition("\n")[2]))

    def _on_end(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._launcher.wait()
        self._loop.remove_reader(self._control)
        self._control.close()
        if not self._running.done():
            self._running.set_exception(RuntimeError(f"startup for container failed: {code}"))
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(wire.WireClosed())
        for pid in tuple(self._children):
            self._on_exit(pid, -signal.SIGKILL)
        self.ended.set_result(code)


def _launch(descriptor: int, disk: Path) -> subprocess.Popen[bytes]:
    source = Path(pve402_devnet.__file__).parents[1]
    return subprocess.Popen(  # noqa: S603 - our own program, no shell
        [sys.executable, "-I", "-S", "-c", _BOOT, str(descriptor), str(source)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=disk,
        env={},
        pass_fds=[descriptor],
        start_new_session=True,
    )
