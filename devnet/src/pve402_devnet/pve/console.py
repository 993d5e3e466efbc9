"""Console ports, and a terminal service with nobody behind it."""

import asyncio

from aiohttp import web

from pve402_devnet.pve import clock, cluster, errors, runtime

FIRST_PORT = 5900
LAST_PORT = 5999
CLIENT_LIMIT_SECONDS = 10.0


def free_port(world: cluster.Cluster) -> int:
    """Find a console port nobody uses; raises `errors.Failure` when all hundred are taken."""
    for port in range(FIRST_PORT, LAST_PORT + 1):
        if port not in world.consoles:
            return port
    raise errors.Failure("unable to find free port (5900-6000)")


class NullTerminal:
    """Consoles that accept a client and say nothing; without one they end after ten seconds."""

    def __init__(self) -> None:
        self._clock: clock.Clock = clock.RealClock()
        self._arrivals: dict[int, asyncio.Event] = {}
        self._departures: dict[int, asyncio.Event] = {}

    def use_clock(self, time: clock.Clock) -> None:
        """Measure the limit by a cluster's clock."""
        self._clock = time

    async def open_term(self, session: runtime.ConsoleSession) -> None:
        arrived, left = asyncio.Event(), asyncio.Event()
        self._arrivals[session.port], self._departures[session.port] = arrived, left
        if not await self._wait_for_client(arrived):
            session.log("failed waiting for client: timed out")
            raise RuntimeError(session.failure(1))
        await left.wait()

    async def open_vnc(self, session: runtime.ConsoleSession) -> None:
        await self.open_term(session)

    async def websocket(self, request: web.Request, node: str, port: int) -> web.StreamResponse:
        wanted = request.headers.get("Sec-WebSocket-Protocol")
        response = web.WebSocketResponse(protocols=(wanted,) if wanted else ())
        await response.prepare(request)
        self._arrivals[port].set()
        async for _ in response:
            pass
        self._departures[port].set()
        return response

    async def _wait_for_client(self, arrived: asyncio.Event) -> bool:
        waiting = asyncio.create_task(arrived.wait())
        limit = asyncio.create_task(self._clock.sleep(CLIENT_LIMIT_SECONDS))
        try:
            await asyncio.wait({waiting, limit}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            limit.cancel()
        return arrived.is_set()
