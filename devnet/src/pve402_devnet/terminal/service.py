"""The `TerminalService` of the simulated Proxmox: workers on console ports and their websockets."""

import asyncio
import random
from dataclasses import dataclass, field

from aiohttp import web

from pve402_devnet.pve.runtime import ConsoleSession
from pve402_devnet.terminal.manners import TerminalManners
from pve402_devnet.terminal.peers import FRAME_LIMIT_BYTES, Peer
from pve402_devnet.terminal.sessions import ConsoleSource, Terminals
from pve402_devnet.terminal.termproxy import TermproxyWorker, WorkerFailed
from pve402_devnet.terminal.vncterm import VnctermWorker


@dataclass(kw_only=True)
class _Port:
    """A listening console port: takes one client."""

    client: asyncio.Future[Peer] = field(default_factory=asyncio.Future)


class Consoles:
    """Serves consoles of the guests of one runtime, with the given quirks."""

    def __init__(self, source: ConsoleSource, manners: TerminalManners) -> None:
        self._manners = manners
        self._terminals = Terminals(source, manners)
        self._chance = random.Random(manners.seed)  # noqa: S311 - a choice of manners, no secret
        self._ports: dict[tuple[str, int], _Port] = {}

    async def open_term(self, session: ConsoleSession) -> None:
        """Be termproxy on `session.port`; RuntimeError is the failure text of its task."""
        try:
            peer = await self._accept(session)
            session.log(f"client connection: {peer.address}")
            worker = TermproxyWorker(
                session=session,
                peer=peer,
                terminals=self._terminals,
                manners=self._manners,
                chance=self._chance,
            )
            try:
                await worker.run()
            finally:
                peer.drop()
        except WorkerFailed:
            raise RuntimeError(session.failure(1)) from None

    async def open_vnc(self, session: ConsoleSession) -> None:
        """Be vncterm on `session.port`; RuntimeError is the failure text of its task."""
        try:
            peer = await self._accept(session)
        except WorkerFailed:
            raise RuntimeError(session.failure(1)) from None
        worker = VnctermWorker(
            session=session, peer=peer, terminals=self._terminals, manners=self._manners
        )
        try:
            await worker.run()
        finally:
            peer.drop()

    async def websocket(self, request: web.Request, node: str, port: int) -> web.StreamResponse:
        """Serve an upgrade with a valid ticket."""
        listening = self._ports.pop((node, port), None)
        if listening is None or listening.client.done():
            return await _die_unanswered(request, self._manners.dead_port_seconds)
        socket = web.WebSocketResponse(
            protocols=("binary", "base64"),
            autoclose=False,
            compress=False,
            max_msg_size=FRAME_LIMIT_BYTES,
        )
        await socket.prepare(request)
        peer = Peer(socket, request)
        listening.client.set_result(peer)
        await peer.wait_closed()
        return socket

    def close(self) -> None:
        """Release every terminal."""
        self._terminals.close()

    async def _accept(self, session: ConsoleSession) -> Peer:
        key = (session.node, session.port)
        listening = self._ports[key] = _Port()
        try:
            async with asyncio.timeout(self._manners.connect_limit_seconds):
                peer = await listening.client
        except TimeoutError:
            session.log("failed waiting for client: timed out")
            raise WorkerFailed from None
        except asyncio.CancelledError:
            if listening.client.done() and not listening.client.cancelled():
                listening.client.result().drop()
            raise
        finally:
            if self._ports.get(key) is listening:
                del self._ports[key]
        return peer


async def _die_unanswered(request: web.Request, delay_seconds: float) -> web.StreamResponse:
    """Close the connection without an HTTP answer, as with a port nobody listens on."""
    await asyncio.sleep(delay_seconds)
    if request.transport:
        request.transport.close()
    return web.Response()
