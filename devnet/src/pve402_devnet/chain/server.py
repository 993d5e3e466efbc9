"""The chain as a node: JSON-RPC over HTTP on loopback, and the same methods in process.

Only `application/json` is taken, so that no web page can steer the chain behind its reader's
back: a browser asks first for that content type, and nobody answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Self

import structlog
from aiohttp import web

from pve402_devnet.chain import contracts, control, eth, jsonrpc
from pve402_devnet.chain.chain import Chain
from pve402_devnet.chain.jsonrpc import Dispatcher, Method
from pve402_devnet.chain.options import ChainOptions
from pve402_devnet.chain.parameters import Parameters

WEI_PER_ETH = 10**18
BALANCE_OF = "0x70a08231"

log = structlog.get_logger(__name__)


class SimulatedChain:
    """A running chain: `async with SimulatedChain(ChainOptions()) as chain: ... chain.url`."""

    def __init__(self, options: ChainOptions | None = None) -> None:
        self.options = options or ChainOptions()
        self.chain = Chain(self.options)
        self.usdc = contracts.USDC_ADDRESS
        self._dispatcher = Dispatcher(_methods(self.chain))
        self._runner: web.AppRunner | None = None
        self._clockwork: asyncio.Task[None] | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where JSON-RPC is spoken; only while it runs."""
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
        app = web.Application(client_max_size=jsonrpc.MAX_REQUEST_BYTES)
        app.router.add_post("/", self._answer)
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
        """Close the port; what the chain holds can still be read in process."""
        if self._clockwork is not None:
            self._clockwork.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._clockwork
            self._clockwork = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

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
        """In atomic units, at the newest state."""
        question = {"to": self.usdc, "data": BALANCE_OF + address[2:].lower().rjust(64, "0")}
        return int(self.rpc("eth_call", question, "latest"), 16)

    async def _answer(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text="send application/json")
        answer = self._dispatcher.handle(await request.read())
        if answer is None:
            return web.Response(status=204)
        return web.Response(body=answer, content_type="application/json")

    async def _mine_by_the_clock(self) -> None:
        interval = self.options.block_interval_seconds or 0
        while True:
            await asyncio.sleep(interval)
            self.rpc("evm_mine")


def _methods(chain: Chain) -> dict[str, Method]:
    """Every method bound to this chain, each one undivided under the chain's lock."""

    def bind(function: eth.Reader) -> Method:
        def method(params: list[Any]) -> Any:
            with chain.lock:
                return function(chain, Parameters(chain, params))

        return method

    return {name: bind(function) for name, function in (eth.METHODS | control.METHODS).items()}
