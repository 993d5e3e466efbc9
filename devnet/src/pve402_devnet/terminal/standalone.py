"""Consoles without the rest of Proxmox: guests and their terminals behind four calls and one token.

For work on what speaks to consoles. The answers have the form of the real ones; any
`Authorization` header is taken as `svc@pve!test`, and there are no tasks, locks or rights.
"""

import asyncio
import contextlib
import itertools
import secrets
import string
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiohttp import web

from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve.runtime import ConsoleKind, ConsoleSession, GuestSpec
from pve402_devnet.terminal.service import Consoles

logger = structlog.get_logger(__name__)

NODE = "pve"
USER = "svc@pve!test"
_LXC = f"/api2/json/nodes/{NODE}/lxc/{{vmid:\\d+}}"
_FIRST_PORT, _PORTS = 5900, 100


@dataclass(kw_only=True)
class Standalone:
    """The guests, their specifications, and the consoles that are open."""

    runtime: NamespaceRuntime
    consoles: Consoles
    specs: dict[int, GuestSpec]
    open_ports: dict[int, ConsoleSession] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)
    workers: set[asyncio.Task[None]] = field(default_factory=set)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def application(self) -> web.Application:
        """Make the web application; starts and ends the guests with it."""
        app = web.Application()
        app.router.add_post(_LXC + "/termproxy", self.termproxy)
        app.router.add_post(_LXC + "/vncproxy", self.vncproxy)
        app.router.add_get(_LXC + "/vncwebsocket", self.vncwebsocket)
        app.router.add_get(_LXC + "/status/current", self.status)
        app.router.add_post(_LXC + "/status/{action:start|stop|shutdown|reboot}", self.act)
        app.cleanup_ctx.append(self._guests_running)
        return app

    async def termproxy(self, request: web.Request) -> web.Response:
        """Open a text console."""
        session = self._open(request, ConsoleKind.TERM)
        self._work(session, self.consoles.open_term(session))
        return _answer(session)

    async def vncproxy(self, request: web.Request) -> web.Response:
        """Open a graphical console."""
        session = self._open(request, ConsoleKind.VNC)
        self._work(session, self.consoles.open_vnc(session))
        return _answer(session, password=session.password)

    async def vncwebsocket(self, request: web.Request) -> web.StreamResponse:
        """Connect to an open console with its ticket."""
        port = int(request.query.get("port", "0"))
        if not _FIRST_PORT <= port < _FIRST_PORT + _PORTS:
            raise web.HTTPBadRequest(reason="Parameter verification failed.")
        session = self.open_ports.get(port)
        ticket = request.query.get("vncticket", "")
        if session is None or ticket != session.ticket or session.vmid != _vmid(request):
            raise web.HTTPUnauthorized(reason="permission denied - invalid PVEVNC ticket")
        return await self.consoles.websocket(request, NODE, port)

    async def status(self, request: web.Request) -> web.Response:
        """Tell whether the guest runs."""
        running = await self.runtime.is_running(_vmid(request))
        data = {"vmid": _vmid(request), "status": "running" if running else "stopped"}
        return web.json_response({"data": data})

    async def act(self, request: web.Request) -> web.Response:
        """Start or end the guest; answers when it is done."""
        vmid, action = _vmid(request), request.match_info["action"]
        if action == "stop":
            await self.runtime.stop(vmid)
        if action in ("shutdown", "reboot"):
            await self.runtime.shutdown(vmid, 10)
        if action in ("start", "reboot"):
            await self.runtime.start(vmid, self.specs[vmid])
        return web.json_response({"data": f"UPID:{NODE}:00000001:00000001:6B01E97E:{action}:"})

    def _open(self, request: web.Request, kind: ConsoleKind) -> ConsoleSession:
        vmid = _vmid(request)
        if vmid not in self.specs:
            reason = f"Configuration file 'nodes/{NODE}/lxc/{vmid}.conf' does not exist"
            raise web.HTTPInternalServerError(reason=reason)
        port = next(p for p in range(_FIRST_PORT, _FIRST_PORT + _PORTS) if p not in self.open_ports)
        password = "".join(secrets.choice(string.ascii_letters) for _ in range(8))
        ticket = f"PVEVNC:6B01E97E::{secrets.token_urlsafe(48)}"
        is_vnc = kind is ConsoleKind.VNC
        session = self.open_ports[port] = ConsoleSession(
            kind=kind,
            node=NODE,
            vmid=vmid,
            port=port,
            user=USER,
            cmode=self.specs[vmid].cmode,
            upid=f"UPID:{NODE}:{next(self.numbers):08X}:00097C11:6B01E963:vncproxy:{vmid}:{USER}:",
            command=f"/usr/bin/termproxy {port}",
            ticket=f"{password}:{ticket}" if is_vnc else ticket,
            password=password if is_vnc else "",
            log=self.logs.append,
        )
        return session

    def _work(self, session: ConsoleSession, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._until_closed(session, work))
        self.workers.add(task)
        task.add_done_callback(self.workers.discard)

    async def _until_closed(self, session: ConsoleSession, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except RuntimeError as error:
            logger.info("console_failed", vmid=session.vmid, error=str(error))
        finally:
            self.open_ports.pop(session.port, None)

    async def _guests_running(self, _app: web.Application) -> AsyncIterator[None]:
        for vmid, spec in self.specs.items():
            await self.runtime.start(vmid, spec)
        yield
        for task in tuple(self.workers):
            task.cancel()
        await asyncio.gather(*self.workers, return_exceptions=True)
        self.consoles.close()
        await self.runtime.close()
        for vmid in self.specs:
            await self.runtime.destroy(vmid)


@contextlib.asynccontextmanager
async def serve(standalone: Standalone, port: int = 0) -> AsyncIterator[str]:
    """Serve on loopback; yields the base URL."""
    runner = web.AppRunner(standalone.application(), shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _vmid(request: web.Request) -> int:
    return int(request.match_info["vmid"])


def _answer(session: ConsoleSession, **more: str) -> web.Response:
    data = {
        "user": session.user,
        "ticket": session.ticket,
        "port": str(session.port),
        "upid": session.upid,
        **more,
    }
    return web.json_response({"data": data})
