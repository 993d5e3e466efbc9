"""The HTTP server of a simulated cluster: loopback only, plain or TLS."""

import asyncio
import ipaddress
import ssl
import urllib.parse

import structlog
from aiohttp import web

from pve402_devnet.pve import clock, cluster, dispatch, errors, rest, wire

_log = structlog.get_logger(__name__)

KEEP_ALIVE_SECONDS = 5.0
_METHODS = ("GET", "POST", "PUT", "DELETE")


class NotLoopback(ValueError):
    """A simulated Proxmox answers on loopback addresses only."""


def require_loopback(host: str) -> str:
    """Raise `NotLoopback` for an address that others could reach."""
    try:
        if ipaddress.ip_address(host).is_loopback:
            return host
    except ValueError:
        pass
    raise NotLoopback(f"{host} is not a loopback address")


class ApiServer:
    """Reads requests, has the dispatcher answer them, and writes the answers."""

    def __init__(self, world: cluster.Cluster, dispatcher: dispatch.Dispatcher) -> None:
        self._world = world
        self._dispatcher = dispatcher
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._place: tuple[str, ssl.SSLContext | None] = ("", None)
        self.port = 0

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        """Listen; port 0 takes a free one. Raises `NotLoopback`."""
        require_loopback(host)
        app = web.Application(client_max_size=2 * wire.MAX_POST_BYTES)
        app.router.add_route("*", r"/{tail:[\s\S]*}", self._handle)
        app.on_response_prepare.append(wire.finish_headers)
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=KEEP_ALIVE_SECONDS, shutdown_timeout=0.1
        )
        await self._runner.setup()
        self._place, self.port = (host, tls), port
        await self.open()
        self.port = self._runner.addresses[0][1]

    async def open(self) -> None:
        """Take new connections."""
        if self._site is None and self._runner is not None:
            host, tls = self._place
            self._site = web.TCPSite(self._runner, host, self.port, ssl_context=tls)
            await self._site.start()

    async def close(self) -> None:
        """Refuse new connections; those that are open go on, as they do through a firewall."""
        if self._site is not None:
            await self._site.stop()
            self._site = None

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = self._site = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        return wire.compressed(request, await self._respond(request))

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        clock.answering_a_request.set(True)
        if request.method not in _METHODS:
            return wire.method_refused(request.method)
        if len(request.headers) >= wire.MAX_HEADERS:
            return self._drop(request)
        path = urllib.parse.unquote(request.rel_url.raw_path)
        name = "json"
        try:
            name, call_path = wire.split_path(path)
            return await self._answer(request, name, call_path)
        except errors.ApiError as error:
            await self._delay(error)
            return wire.error_answer(error, name)
        except dispatch.Gateway as answer:
            return wire.gateway_answer(answer)
        except dispatch.Dropped:
            return self._drop(request)

    async def _answer(self, request: web.Request, name: str, path: str) -> web.StreamResponse:
        if request.headers.get("Transfer-Encoding"):
            raise errors.PlainError(501, "chunked transfer encoding not supported")
        caller = self._world.doorkeeper.identify(request.method, path, request.headers)
        values = await wire.read_parameters(request)
        wire.require_format(name, path)
        result = await self._dispatcher.answer(caller, request.method, path, values)
        if path.endswith("websocket") and request.headers.get("Upgrade"):
            return await self._upgrade(request, path, result)
        return wire.json_answer(result, name)

    async def _upgrade(
        self, request: web.Request, path: str, result: rest.Json
    ) -> web.StreamResponse:
        protocol = request.headers["Upgrade"].lower()
        if protocol != "websocket":
            raise errors.PlainError(500, f"unable to upgrade to protocol '{protocol}'\n")
        version = request.headers.get("Sec-WebSocket-Version", "")
        if version != "13":
            raise errors.PlainError(500, f"unsupported websocket-version '{version}'\n")
        if not request.headers.get("Sec-WebSocket-Key"):
            raise errors.PlainError(500, "missing websocket-key\n")
        port = int(result["port"]) if isinstance(result, dict) else 0
        if port not in self._world.consoles:
            await self._world.clock.sleep(KEEP_ALIVE_SECONDS)
            return self._drop(request)
        node = self._world.resolve_node(path.split("/")[2])
        return await self._world.terminal.websocket(request, node, port)

    async def _delay(self, error: errors.ApiError) -> None:
        """Delay the answer to refused credentials, against guessing."""
        if error.status == 401:
            await self._world.clock.sleep(self._world.options.auth_failure_seconds)

    @staticmethod
    def _drop(request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        raise asyncio.CancelledError
