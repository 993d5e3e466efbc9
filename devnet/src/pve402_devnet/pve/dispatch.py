"""From a request's method, path and parameters to an answer: rights, node, daemon, handler."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

import structlog

from pve402_devnet.pve import cluster, credentials, errors, faults, rest, schema

_log = structlog.get_logger(__name__)


class Gateway(Exception):
    """The proxy's own answer about a call it passed on: 595 not reached, 596 not answered."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Dropped(Exception):
    """The connection is to be closed without an answer."""


class Dispatcher:
    """Runs calls against a cluster."""

    def __init__(self, world: cluster.Cluster, router: rest.Router) -> None:
        self._world = world
        self._router = router
        self._left_running: set[asyncio.Task[rest.Json]] = set()

    async def answer(
        self,
        caller: credentials.Caller,
        method: str,
        path: str,
        values: Mapping[str, object],
    ) -> rest.Json:
        """Run one call; raises `errors.ApiError`, `Gateway` or `Dropped`."""
        fault = self._world.faults.take(method, path)
        if fault is None:
            return await self._call(caller, method, path, values)
        return await self._suffer(fault, caller, method, path, values)

    async def close(self) -> None:
        """Cancel calls that nobody is waiting for any longer."""
        for call in self._left_running:
            call.cancel()
        await asyncio.gather(*self._left_running, return_exceptions=True)

    async def _suffer(
        self,
        fault: faults.CallFault,
        caller: credentials.Caller,
        method: str,
        path: str,
        values: Mapping[str, object],
    ) -> rest.Json:
        kind = faults.FaultKind
        _log.info("fault", kind=fault.kind.value, method=method, path=path)
        if fault.kind is kind.LOCKED:
            raise errors.Failure(f"CT is locked ({fault.text or 'backup'})")
        if fault.kind is kind.ERROR:
            raise errors.Failure(fault.text)
        if fault.kind is kind.UNREACHABLE:
            raise Gateway(595, "Connection refused")
        result: rest.Json = None
        if fault.executed or fault.kind is kind.SLOW:
            result = await self._call(caller, method, path, values)
        await self._world.clock.sleep(fault.seconds)
        if fault.kind is kind.GATEWAY_TIMEOUT:
            raise Gateway(596, "Connection timed out")
        if fault.kind is kind.DROP:
            raise Dropped
        return result

    async def _call(
        self,
        caller: credentials.Caller,
        method: str,
        path: str,
        values: Mapping[str, object],
    ) -> rest.Json:
        route, in_path = self._router.find(method, path)
        merged = _merge(in_path, values)
        if caller.by_token and not route.allow_token:
            raise errors.PermissionDenied(
                f"URI '{path}' not available with API token, need proper ticket.\n"
            )
        route.permission(self._world.access, caller.user, merged)
        node = self._node_of(merged)
        work = self._work(route, caller, merged, node)
        if not route.protected:
            return await work
        return await self._within_proxy_limit(work)

    def _node_of(self, values: Mapping[str, object]) -> str:
        if "node" not in values:
            return self._world.local_node
        node = self._world.resolve_node(str(values["node"]))
        if node in self._world.offline:
            raise Gateway(595, "No route to host")
        return node

    async def _work(
        self,
        route: rest.Route,
        caller: credentials.Caller,
        values: Mapping[str, object],
        node: str,
    ) -> rest.Json:
        if not route.protected:
            await self._world.clock.sleep(self._world.latencies.call)
            return await self._handle(route, caller, values)
        async with self._world.daemons[node].turn():
            await self._world.clock.sleep(self._world.latencies.protected_call)
            return await self._handle(route, caller, values)

    async def _handle(
        self, route: rest.Route, caller: credentials.Caller, values: Mapping[str, object]
    ) -> rest.Json:
        params = schema.validate(values, route.parameters)
        return await route.handler(rest.Call(world=self._world, user=caller.user, params=params))

    async def _within_proxy_limit(self, work: Coroutine[Any, Any, rest.Json]) -> rest.Json:
        """The proxy gives a call of the daemon 30 s; the call itself goes on after that."""
        running = asyncio.create_task(work)
        limit = asyncio.create_task(
            self._world.clock.sleep(self._world.options.proxy_timeout_seconds)
        )
        try:
            await asyncio.wait({running, limit}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()
            self._left_running.add(running)
            running.add_done_callback(self._left_running.discard)
        if not running.done():
            raise Gateway(596, "Connection timed out")
        return running.result()


def _merge(in_path: Mapping[str, str], values: Mapping[str, object]) -> dict[str, object]:
    merged: dict[str, object] = dict(in_path)
    for name in sorted(values):
        value = values[name]
        if name in merged and str(merged[name]) != str(value):
            raise errors.ParameterErrors(
                {name: "duplicate parameter (already defined in URI) with conflicting values!"}
            )
        merged[name] = value
    return merged
