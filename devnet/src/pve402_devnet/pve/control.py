"""The control endpoint: orders faults and moves time, on a loopback port of its own."""

import json
from collections.abc import Mapping

from aiohttp import web

from pve402_devnet.pve import clock, cluster, faults, server

_MAX_BODY_BYTES = 64 * 1024


class ControlServer:
    """`POST /faults`, `DELETE /faults`, `POST /state`, `POST /tick`, `GET /state`."""

    def __init__(self, world: cluster.Cluster) -> None:
        self._world = world
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; port 0 takes a free one. Raises `server.NotLoopback`."""
        server.require_loopback(host)
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_post("/faults", self._order_fault)
        app.router.add_delete("/faults", self._clear_faults)
        app.router.add_post("/state", self._change_state)
        app.router.add_get("/state", self._show_state)
        app.router.add_post("/tick", self._tick)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _order_fault(self, request: web.Request) -> web.Response:
        body = await _body(request)
        try:
            fault = faults.CallFault(
                pattern=str(body["pattern"]),
                kind=faults.FaultKind(body["kind"]),
                times=int(str(body.get("times", 1))),
                executed=bool(body.get("executed", False)),
                seconds=float(str(body.get("seconds", 0))),
                text=str(body.get("text", "")),
            )
        except (KeyError, ValueError) as problem:
            raise web.HTTPBadRequest(text=f"not a fault: {problem}") from None
        self._world.faults.order(fault)
        return web.json_response({"waiting": len(self._world.faults.waiting)})

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self._world.faults.clear()
        return web.json_response({"waiting": 0})

    async def _change_state(self, request: web.Request) -> web.Response:
        body = await _body(request)
        if "quorate" in body:
            self._world.quorate = bool(body["quorate"])
        if "statisticsDead" in body:
            self._world.statistics_dead = bool(body["statisticsDead"])
        if "networkReloadFails" in body:
            self._world.networks.reload_fails = bool(body["networkReloadFails"])
        if "killCreates" in body:
            self._world.faults.kill_creates = int(str(body["killCreates"]))
        nodes = set(self._world.nodes)
        if "offline" in body:
            self._world.offline = {str(name) for name in _list(body["offline"])} & nodes
        if "maintenance" in body:
            self._world.maintenance = {str(name) for name in _list(body["maintenance"])} & nodes
        if "fullStorages" in body:
            full = {str(name) for name in _list(body["fullStorages"])}
            for storage in self._world.storages:
                storage.full = storage.name in full
        for order in _list(body.get("failTasks", [])):
            self._world.faults.order_for_task(_task_fault(order))
        return await self._show_state(request)

    async def _show_state(self, _: web.Request) -> web.Response:
        world = self._world
        return web.json_response(
            {
                "quorate": world.quorate,
                "statisticsDead": world.statistics_dead,
                "networkReloadFails": world.networks.reload_fails,
                "offline": sorted(world.offline),
                "maintenance": sorted(world.maintenance),
                "fullStorages": [s.name for s in world.storages if s.full],
                "killCreates": world.faults.kill_creates,
                "faultsWaiting": len(world.faults.waiting),
                "guests": sorted(world.guests),
                "tasksRunning": [str(t.upid) for t in world.tasks if t.running],
            }
        )

    async def _tick(self, request: web.Request) -> web.Response:
        if not isinstance(self._world.clock, clock.TickClock):
            raise web.HTTPConflict(text="time passes by itself here")
        body = await _body(request)
        await self._world.clock.tick(float(str(body.get("seconds", 1))))
        return web.json_response({"now": self._world.clock.now()})


async def _body(request: web.Request) -> Mapping[str, object]:
    try:
        body = json.loads(await request.read() or b"{}")
    except ValueError:
        raise web.HTTPBadRequest(text="the body is not JSON") from None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(text="the body is not an object")
    return body


def _task_fault(order: object) -> faults.TaskFault:
    if not isinstance(order, dict) or not {"type", "text"} <= order.keys():
        raise web.HTTPBadRequest(text="a task's fault has a type and a text")
    return faults.TaskFault(
        type=str(order["type"]), text=str(order["text"]), executed=bool(order.get("executed"))
    )


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
