"""One connection to a port of a guest, for another replica; see `peers/ports.py`."""

import asyncio
import contextlib

from starlette.websockets import WebSocket, WebSocketDisconnect

from pve402.api import context, guest_call
from pve402.api.peers import ports
from pve402.api.sockets import binary, entry
from pve402.api.transport import routing
from pve402.domain import errors
from pve402.guests import connections, guest_work
from pve402.hub import errors as hub_errors

router = routing.Router("port")


@router.websocket(ports.PATH)
async def serve(socket: WebSocket) -> None:
    """Connect to the port, and carry bytes until either side ends."""
    await socket.accept()
    async with entry.refusals_told(socket):
        if guest_call.lease_of_peer_call(socket) is None:
            raise errors.NotAllowed
        async with entry.admitted(socket, None) as found:
            port, work = socket.path_params["port"], context.of(socket).work
            try:
                connection = await work.connections.open(guest_work.ref(found), found, port)
            except hub_errors.Moved as moved:
                await entry.close(socket, ports.NOT_HERE, moved.code)
                return
            try:
                await socket.send_text(ports.READY)
                await _both_ways(socket, connection)
            finally:
                await connection.close()


async def _both_ways(socket: WebSocket, connection: connections.Connection) -> None:
    down = asyncio.create_task(_down(socket, connection))
    up = asyncio.create_task(_up(socket, connection))
    try:
        await asyncio.wait([down, up], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (down, up):
            task.cancel()
        await asyncio.gather(down, up, return_exceptions=True)
    await entry.close(socket, 1000, "")


async def _down(socket: WebSocket, connection: connections.Connection) -> None:
    with contextlib.suppress(OSError, WebSocketDisconnect):
        while data := await connection.read():
            await binary.send(socket, data)


async def _up(socket: WebSocket, connection: connections.Connection) -> None:
    with contextlib.suppress(OSError, WebSocketDisconnect, binary.TextRefused):
        while True:
            await connection.write(await binary.receive(socket))
