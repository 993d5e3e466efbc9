"""A program in a guest whose terminal another replica holds, over a websocket to that replica."""

import asyncio
import contextlib
import json
from typing import Any, Final

import aiohttp
from typing_extensions import override

from pve402.domain.lease import Lease
from pve402.guests import peers, pipes, stream_wire
from pve402.hub import errors as hub_errors
from pve402.hub import stream as streams

_NOT_HERE: Final = stream_wire.REFUSED + 421
_READY_SECONDS: Final = 30.0
_TELL_BYTES: Final = 32 * 1024
_KEPT_OPEN: Final = {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}


async def opened(
    caller: peers.Peers, address: str, row: Lease, hello: dict[str, Any]
) -> "FarPipe | None":
    """Open a stream at a peer; None if the peer is down or does not hold the terminal.

    Raises HubError as the peer does.
    """
    path = stream_wire.PATH.format(ctid=row.vmid)
    try:
        socket = await caller.connect(address, path, lease_id=row.lease_id, headers={})
    except peers.PeerUnreachable:
        return None
    try:
        await socket.send_str(json.dumps(hello))
        async with asyncio.timeout(_READY_SECONDS):
            first = await peers.receive(socket)
    except (aiohttp.ClientError, OSError, TimeoutError, peers.PeerLost):
        await socket.close()
        return None
    except BaseException:
        await socket.close()
        raise
    if first.type is aiohttp.WSMsgType.TEXT:
        return FarPipe(socket)
    await socket.close()
    if first.type is aiohttp.WSMsgType.CLOSE and first.data != _NOT_HERE:
        raise pipes.refusal_of(str(first.extra))
    return None


class FarPipe(pipes.Pipe):
    """The program, as the peer's websocket shows it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.complaint = b""
        self.exit_code: int | None = None
        self._socket = socket
        self._output: asyncio.Queue[bytes] = asyncio.Queue()  # at most a window: see _confirm
        self._read = 0
        self._confirmed = 0
        self._sent = 0
        self._taken = 0
        self._is_over = False
        self._error: hub_errors.HubError | None = None
        self._changed = asyncio.Event()
        self._receiving = asyncio.create_task(self._receive())

    @override
    async def read(self) -> bytes:
        data = await self._output.get()
        if data:
            await self._count(len(data))
            return data
        if self._error is not None:
            raise self._error
        return b""

    @override
    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), streams.PIECE_BYTES):
            piece = data[start : start + streams.PIECE_BYTES]
            while not self._is_over and self._sent - self._taken + len(piece) > (
                streams.INPUT_WINDOW
            ):
                self._changed.clear()
                await self._changed.wait()
            self._sent += len(piece)
            await self._send(bytes([stream_wire.STDIN]) + piece)

    @override
    async def end_input(self) -> None:
        await self._send(stream_wire.END_OF_INPUT)

    @override
    async def close(self) -> None:
        await self._send(stream_wire.END_OF_STREAM)
        self._receiving.cancel()
        await asyncio.gather(self._receiving, return_exceptions=True)
        await self._socket.close()

    async def _send(self, message: bytes) -> None:
        """Send a message; that the peer is gone shows when we read."""
        if not self._is_over:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                await self._socket.send_bytes(message)

    async def _count(self, size: int) -> None:
        """Confirm what was read, in steps; the peer sends no more than a window beyond it."""
        self._read += size
        if self._read - self._confirmed >= _TELL_BYTES:
            self._confirmed = self._read
            await self._send(stream_wire.counted(self._read))

    async def _receive(self) -> None:
        """Take what the peer sends until the stream ends."""
        try:
            while not self._is_over:
                message = await peers.receive(self._socket)
                if message.type is aiohttp.WSMsgType.BINARY and message.data:
                    await self._take(message.data[0], message.data[1:])
                elif message.type not in _KEPT_OPEN:
                    self._end(_error_of(message))
        except (aiohttp.ClientError, OSError, peers.PeerLost):
            self._end(hub_errors.SessionLost())

    async def _take(self, channel: int, data: bytes) -> None:
        match channel:
            case stream_wire.STDOUT if data:
                self._output.put_nowait(data)
            case stream_wire.STDERR:
                self.complaint = pipes.longer(self.complaint, data)
                await self._count(len(data))
            case stream_wire.COUNT:
                self._taken = int.from_bytes(data, "big")
                self._changed.set()
            case stream_wire.STATUS:
                self.exit_code = int(json.loads(data)["exitCode"])
                self._end(None)

    def _end(self, error: hub_errors.HubError | None) -> None:
        self._is_over = True
        self._error = error
        self._output.put_nowait(b"")
        self._changed.set()


def _error_of(message: aiohttp.WSMessage) -> hub_errors.HubError:
    is_refusal = message.type is aiohttp.WSMsgType.CLOSE and message.data is not None
    return pipes.refusal_of(str(message.extra)) if is_refusal else hub_errors.SessionLost()
