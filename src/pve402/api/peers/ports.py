"""Connections into guests, by way of the replica that holds the guest's terminal.

Such a connection is a websocket between the replicas, whose binary messages are its bytes.
"""

from typing import Final

import aiohttp

from pve402.api.peers import forward
from pve402.domain import errors
from pve402.domain.lease import Lease
from pve402.guests import connections, guest_work, holder, peers
from pve402.hub import errors as hub_errors

PATH: Final = "/peer/port/{port:int}"
READY: Final = "ready"
NOT_HERE: Final = 4000 + forward.NOT_HERE
_REFUSALS: Final[dict[str, type[errors.Pve402Error]]] = {
    kind.code: kind
    for kind in (
        *(connections.PortRefused, connections.PortBusy, errors.LeaseNotReady),
        *(errors.LeaseSuspended, errors.TryLater),
        *(hub_errors.GuestNotRunning, hub_errors.NoShell, hub_errors.TerminalStuck),
        *(hub_errors.ConsoleBusy, hub_errors.GuestClosed, hub_errors.TerminalUnreachable),
        *(hub_errors.TooManySessions, hub_errors.TooManyStreams, hub_errors.NodeConsolesFull),
    )
}


async def connect(work: guest_work.GuestWork, lease: Lease, port: int) -> connections.Connection:
    """Connect to a port of a lease's guest, here or at the holder of its terminal.

    Raises what `Connections.open` raises, but Moved only if the holder cannot be found.
    """
    guest = guest_work.ref(lease)
    try:
        return await work.connections.open(guest, lease, port)
    except hub_errors.Moved as moved:
        address = moved.owner_address

    async def attempt(caller: peers.Peers, address: str) -> connections.Connection | None:
        return await _try(caller, address, lease, port)

    found = await holder.at_holder(work, lease, address, attempt)
    return found or await work.connections.open(guest, lease, port)


async def _try(
    caller: peers.Peers, address: str, lease: Lease, port: int
) -> connections.Connection | None:
    """Connect through a peer; None if it is down or does not hold the terminal."""
    target = f"/peer/port/{port}"
    try:
        socket = await caller.connect(address, target, lease_id=lease.lease_id, headers={})
    except peers.PeerUnreachable:
        return None
    try:
        first = await peers.receive(socket)
    except peers.PeerLost:
        await socket.close()
        raise hub_errors.SessionLost from None
    except BaseException:
        await socket.close()
        raise
    if first.type is aiohttp.WSMsgType.TEXT:
        return _AtPeer(socket)
    await socket.close()
    if first.type is aiohttp.WSMsgType.CLOSE and first.data == NOT_HERE:
        return None
    raise _REFUSALS.get(str(first.extra or ""), hub_errors.SessionLost)


class _AtPeer:
    """A connection through a peer."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    @property
    def has_ended(self) -> bool:
        return self._socket.closed

    async def read(self) -> bytes:
        try:
            message = await peers.receive(self._socket)
        except peers.PeerLost:
            return b""
        is_data = message.type is aiohttp.WSMsgType.BINARY
        return message.data if is_data else b""

    async def write(self, data: bytes) -> None:
        try:
            await self._socket.send_bytes(data)
        except aiohttp.ClientError as error:
            raise ConnectionResetError("the other replica has closed the connection") from error

    async def close(self) -> None:
        await self._socket.close()
