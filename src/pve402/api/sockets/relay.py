"""Relays a websocket to the replica that holds the guest's terminal."""

import asyncio
from typing import Final

import aiohttp
from starlette.websockets import WebSocket, WebSocketDisconnect

from pve402.api.peers import forward
from pve402.api.sockets import binary
from pve402.domain.lease import Lease
from pve402.guests import guest_work, holder, peers
from pve402.hub import errors as hub_errors

NOT_HERE: Final = 4000 + forward.NOT_HERE


async def hand_on(
    socket: WebSocket, work: guest_work.GuestWork, lease: Lease, address: str, hello: str
) -> bool:
    """Have a peer serve the client's socket, given the client's hello, until it ends.

    False if the holder died and we hold the terminal now; then nothing was done.
    Raises Moved if the holder cannot be found, SessionLost if the connection to it is lost.
    """

    async def attempt(caller: peers.Peers, address: str) -> bool | None:
        return await _try(socket, caller, lease, address, hello) or None

    return await holder.at_holder(work, lease, address, attempt) or False


async def _try(
    socket: WebSocket, caller: peers.Peers, lease: Lease, address: str, hello: str
) -> bool:
    """Serve through a peer; False if the peer is down or does not hold the terminal."""
    try:
        peer = await caller.connect(
            address, socket.scope["path"], lease_id=lease.lease_id, headers={}
        )
    except peers.PeerUnreachable:
        return False
    async with peer:
        await peer.send_str(hello)
        try:
            first = await peers.receive(peer)
            if first.type is aiohttp.WSMsgType.CLOSE and peer.close_code == NOT_HERE:
                return False
            await _pass(first, socket, peer)
            await _both_ways(socket, peer)
        except peers.PeerLost:
            raise hub_errors.SessionLost from None
    return True


async def _both_ways(socket: WebSocket, peer: aiohttp.ClientWebSocketResponse) -> None:
    up = asyncio.create_task(_up(socket, peer))
    try:
        while not peer.closed:
            await _pass(await peers.receive(peer), socket, peer)
    finally:
        up.cancel()


async def _pass(
    message: aiohttp.WSMessage, socket: WebSocket, peer: aiohttp.ClientWebSocketResponse
) -> None:
    match message.type:
        case aiohttp.WSMsgType.BINARY:
            await binary.send(socket, message.data)
        case aiohttp.WSMsgType.TEXT:
            await socket.send_text(message.data)
        case aiohttp.WSMsgType.CLOSE if message.data != 1006:
            await socket.close(int(message.data), str(message.extra or ""))
        case _ if peer.closed and peer.close_code in {None, 1006}:
            raise hub_errors.SessionLost
        case _:
            return


async def _up(socket: WebSocket, peer: aiohttp.ClientWebSocketResponse) -> None:
    try:
        while True:
            await peer.send_bytes(await binary.receive(socket))
    except binary.TextRefused as refusal:
        await socket.close(binary.UNSUPPORTED, refusal.code)
        await peer.close()
    except (WebSocketDisconnect, RuntimeError, aiohttp.ClientError, OSError):
        await peer.close()
