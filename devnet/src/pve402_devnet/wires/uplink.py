"""Ports of the world outside that lead to the same ports of this machine's own loopback.

A program in the namespace opens the listening sockets and hands them over: a socket stays in the
network it was made in, so we accept there and connect here.

Run in a bare interpreter: `python -I -S -c BOOT <source directory> ADDRESS PORT...`, with a unix
socket as stdin.
"""

import array
import asyncio
import socket
from asyncio import subprocess
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pve402_devnet.wires.namespace import Namespace

_Carrier = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

_LOOPBACK = "127.0.0.1"
_MOST_BYTES = 64 * 1024
_LIMIT_SECONDS = 20.0


def main(words: list[str]) -> int:
    """Listen, and hand the sockets over."""
    address, *ports = words
    listeners = [socket.create_server((address, int(port)), backlog=128) for port in ports]
    numbers = array.array("i", [listener.fileno() for listener in listeners])
    with socket.socket(fileno=0) as receiver:
        receiver.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])
    return 0


class Uplinks:
    """The open ways to this machine."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = tuple(ports)
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, where: "Namespace", address: str) -> None:
        """Open them at an address of a namespace; RuntimeError where that fails."""
        if not self._ports:
            return
        for listener in await self._listeners(where, address):
            port = listener.getsockname()[1]
            self._servers.append(await asyncio.start_server(self._carrier(port), sock=listener))

    async def stop(self) -> None:
        """Close them and what they carry."""
        for server in self._servers:
            server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._servers.clear()

    async def _listeners(self, where: "Namespace", address: str) -> list[socket.socket]:
        from pve402_devnet.wires import namespace  # noqa: PLC0415 - not for the bare interpreter

        ours, theirs = socket.socketpair()
        with ours, theirs:
            words = namespace.program("uplink", address, *map(str, self._ports))
            opening = await subprocess.create_subprocess_exec(
                *where.entering(), *words, stdin=theirs.fileno(), stderr=subprocess.PIPE
            )
            async with asyncio.timeout(_LIMIT_SECONDS):
                _, complaint = await opening.communicate()
            if opening.returncode:
                words_of_it = complaint.decode(errors="replace").strip().rpartition("\n")[2]
                raise RuntimeError(f"no way from outside to this machine: {words_of_it}")
            _, numbers, _, _ = socket.recv_fds(ours, 1, len(self._ports))
        return [socket.socket(fileno=number) for number in numbers]

    def _carrier(self, port: int) -> "_Carrier":
        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - streams run in one
            self._tasks.add(task)
            try:
                await _carry(reader, writer, port)
            finally:
                self._tasks.discard(task)

        return carry


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    try:
        there_reader, there_writer = await asyncio.open_connection(_LOOPBACK, port)
    except OSError:
        writer.close()
        return
    try:
        await asyncio.gather(_copy(reader, there_writer), _copy(there_reader, writer))
    finally:
        for each in (writer, there_writer):
            each.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_MOST_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
