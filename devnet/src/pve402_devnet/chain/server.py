"""The chain as a node: JSON-RPC over HTTP on loopback, and the same methods in-process.

Only `application/json` is accepted, so that no web page can secretly control the chain: browsers
send a preflight request for that content type, which gets no approval.

Control, for tests over HTTP: GET, POST and DELETE /devnet/faults. In process the same is `faults`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self, TypeVar

import structlog
from aiohttp import web

from pve402_devnet.chain import contracts, control, eth, faults, jsonrpc
from pve402_devnet.chain.chain import Chain
from pve402_devnet.chain.jsonrpc import Dispatcher, Method
from pve402_devnet.chain.options import ChainOptions
from pve402_devnet.chain.parameters import Parameters

WEI_PER_ETH = 10**18
BALANCE_OF = "0x70a08231"

_T = TypeVar("_T")

log = structlog.get_logger(__name__)


class SimulatedChain:
    """A running chain: `async with SimulatedChain(ChainOptions()) as chain: ... chain.url`."""

    def __init__(self, options: ChainOptions | None = None) -> None:
        self.options = options or ChainOptions()
        self.chain = Chain(self.options)
        self.faults = faults.NodeFaults(self.chain)
        self.usdc = contracts.USDC_ADDRESS
        self._dispatcher = Dispatcher(_methods(self.chain))
        self._worker: ThreadPoolExecutor | None = None
        self._runner: web.AppRunner | None = None
        self._clockwork: asyncio.Task[None] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The JSON-RPC address; only while it runs."""
        return f"http://{self.options.host}:{self._port}"

    @property
    def port(self) -> int:
        """The port in use, chosen by the system if the options say 0."""
        return self._port

    async def start(self) -> Self:
        """Listen, and make blocks by the clock if the options say so.

        Raises:
            OSError: the port is taken.
        """
        # Calls take turns on the shared state; in a thread they do not block the event loop.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chain")
        app = web.Application(client_max_size=jsonrpc.MAX_REQUEST_BYTES)
        app.router.add_post("/", self._answer)
        app.router.add_get("/devnet/faults", self._show_faults)
        app.router.add_post("/devnet/faults", self._add_fault)
        app.router.add_delete("/devnet/faults", self._clear_faults)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.options.host, self.options.port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = int(runner.addresses[0][1])
        if self.options.block_interval_seconds is not None:
            self._clockwork = asyncio.create_task(self._mine_by_the_clock())
        log.info("chain_started", url=self.url, chain_id=self.options.chain_id)
        return self

    async def stop(self) -> None:
        """Close the port; the chain can still be read in-process."""
        if self._clockwork is not None:
            self._clockwork.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._clockwork
            self._clockwork = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._worker is not None:
            self._worker.shutdown(wait=False, cancel_futures=True)
            self._worker = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def rpc(self, method: str, *params: Any) -> Any:
        """Call a JSON-RPC method without a socket; from any thread.

        Raises:
            jsonrpc.RpcError: as the method would answer over HTTP.
        """
        return self._dispatcher.call(method, list(params))

    def fund(self, address: str, *, usdc_atomic: int = 0, eth: int = 0) -> None:
        """Give an account USDC (millionths of a dollar) and whole ETH."""
        if usdc_atomic:
            self.rpc("devnet_mintUsdc", address, usdc_atomic)
        if eth:
            self.rpc("devnet_fundEth", address, eth * WEI_PER_ETH)

    def usdc_balance(self, address: str) -> int:
        """Return the balance in atomic units, at the newest state."""
        question = {"to": self.usdc, "data": BALANCE_OF + address[2:].lower().rjust(64, "0")}
        return int(self.rpc("eth_call", question, "latest"), 16)

    async def _answer(self, request: web.Request) -> web.Response:
        _require_json(request)
        due = self.faults.take()
        if faults.NodeFaultKind.DOWN in due:
            if request.transport is not None:
                request.transport.abort()
            raise asyncio.CancelledError
        if faults.NodeFaultKind.UNAVAILABLE in due:
            raise web.HTTPServiceUnavailable
        if faults.NodeFaultKind.RATE_LIMITED in due:
            raise web.HTTPTooManyRequests
        dispatcher = Dispatcher(_methods(self.chain, due)) if due else self._dispatcher
        answer = await self._beside_the_loop(dispatcher.handle, await request.read())
        if answer is None:
            return web.Response(status=204)
        return web.Response(body=answer, content_type="application/json")

    async def _show_faults(self, _: web.Request) -> web.Response:
        return web.json_response([fault.as_json() for fault in self.faults.planned()])

    async def _add_fault(self, request: web.Request) -> web.Response:
        _require_json(request)
        try:
            fault = self.faults.add(faults.NodeFault.from_json(await request.json()))
        except (AttributeError, KeyError, ValueError, TypeError) as error:
            raise web.HTTPBadRequest(text=f"no such fault: {error}") from error
        return web.json_response(fault.as_json(), status=201)

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self.faults.clear()
        return web.Response(status=204)

    async def _mine_by_the_clock(self) -> None:
        interval = self.options.block_interval_seconds or 0
        while True:
            await asyncio.sleep(interval)
            await self._beside_the_loop(self.rpc, "evm_mine")

    async def _beside_the_loop(self, function: Callable[..., _T], *arguments: Any) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, function, *arguments)


def _require_json(request: web.Request) -> None:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send application/json")


def _methods(
    chain: Chain, due: Mapping[faults.NodeFaultKind, faults.NodeFault] | None = None
) -> dict[str, Method]:
    """Return every method bound to this chain, each atomic under the chain's lock.

    `due` returns the faults that apply to a call.
    """
    suffered = due or {}

    def bind(name: str, function: eth.Reader) -> Method:
        def method(params: list[Any]) -> Any:
            with chain.lock:
                seen = faults.seen_by(suffered, chain)
                read = Parameters(seen, params)
                spoilt = faults.refuse(suffered, seen, name, read)
                return function(seen, read) if spoilt is None else spoilt

        return method

    return {
        name: bind(name, function) for name, function in (eth.METHODS | control.METHODS).items()
    }
