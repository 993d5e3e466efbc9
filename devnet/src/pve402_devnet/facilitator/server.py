"""The facilitator as a service: /verify, /settle, /supported, and the switches for its faults.

Control, for demonstrations and tests over HTTP: GET, POST and DELETE /devnet/faults, GET
/devnet/calls. In-process, use `faults` and `calls`.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import structlog
from aiohttp import web

from pve402_devnet.facilitator import misconduct, questions
from pve402_devnet.facilitator.faults import Endpoint, Fault, FaultPlan
from pve402_devnet.facilitator.node import CallNode
from pve402_devnet.facilitator.questions import Json

if TYPE_CHECKING:
    from pve402_devnet.facilitator.core import Core

MAX_BODY_BYTES = 256 * 1024
MAX_CALLS_KEPT = 10_000
WORKERS = 16

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class FacilitatorOptions:
    """A facilitator's setup; its key's account needs ETH for gas."""

    call_node: CallNode
    private_key: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int = 0
    network: str = "eip155:84532"
    network_v1: str = "base-sepolia"
    wallet_factories: tuple[str, ...] = ()
    receipt_timeout_seconds: float = 30.0


@dataclass(frozen=True, kw_only=True)
class FacilitatorCall:
    """One call that it received; the signature is never kept."""

    endpoint: Endpoint
    x402_version: int | None
    payer: str | None
    nonce: str | None
    fault: Fault | None
    status: int | None
    answer: Json | None
    declared: Json = field(default_factory=dict)  # what a catalogue would find in it


class SimulatedFacilitator:
    """A running facilitator: `async with SimulatedFacilitator(options) as facilitator: ...`."""

    def __init__(self, options: FacilitatorOptions) -> None:
        self.options = options
        self.faults = FaultPlan()
        self.calls: deque[FacilitatorCall] = deque(maxlen=MAX_CALLS_KEPT)
        self._workers = ThreadPoolExecutor(WORKERS, thread_name_prefix="facilitator")
        self._core: Core | None = None
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()
        self._misconduct = misconduct.Misconduct(self._stopping)
        self._port = 0

    @property
    def url(self) -> str:
        """Its base URL, for FACILITATOR_URL; only while it runs."""
        return f"http://{self.options.host}:{self._port}"

    @property
    def address(self) -> str:
        """The account that pays the gas; only while it runs."""
        return self._require_core().address

    def calls_to(self, endpoint: Endpoint) -> list[FacilitatorCall]:
        """The calls made to one endpoint so far, oldest first."""
        return [call for call in self.calls if call.endpoint is endpoint]

    async def start(self) -> Self:
        """Load the SDK and listen.

        Raises:
            OSError: the port is taken.
        """
        loop = asyncio.get_running_loop()
        self._core = await loop.run_in_executor(self._workers, _make_core, self.options)
        runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.options.host, self.options.port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = int(runner.addresses[0][1])
        log.info("facilitator_started", url=self.url, address=self.address)
        return self

    async def stop(self) -> None:
        """Close the port and release calls that stay silent or wait for a block."""
        self._stopping.set()
        if self._core is not None:
            self._core.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _application(self) -> web.Application:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/supported", self._supported)
        app.router.add_post("/verify", self._verify)
        app.router.add_post("/settle", self._settle)
        app.router.add_get("/devnet/calls", self._show_calls)
        app.router.add_get("/devnet/faults", self._show_faults)
        app.router.add_post("/devnet/faults", self._add_fault)
        app.router.add_delete("/devnet/faults", self._clear_faults)
        return app

    async def _supported(self, _: web.Request) -> web.Response:
        return web.json_response(self._require_core().supported())

    async def _verify(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, Endpoint.VERIFY, self._require_core().verify)

    async def _settle(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, Endpoint.SETTLE, self._require_core().settle)

    async def _serve(
        self, request: web.Request, endpoint: Endpoint, work: Callable[[Json], Json]
    ) -> web.StreamResponse:
        question = await _question(request)
        fault = self.faults.take(endpoint)
        honest = self._honest(work, question)
        try:
            response = await self._misconduct.answer(endpoint, question, fault, honest)
        except asyncio.CancelledError:
            self._note(endpoint, question, fault, None)
            raise
        self._note(endpoint, question, fault, response)
        return response

    def _honest(
        self, work: Callable[[Json], Json], question: Json
    ) -> Callable[[], Awaitable[misconduct.Answer]]:
        async def honest() -> misconduct.Answer:
            loop = asyncio.get_running_loop()
            try:
                answer = await loop.run_in_executor(self._workers, work, question)
            except questions.BadQuestion as error:
                return misconduct.Answer(status=400, body={"error": str(error)})
            return misconduct.Answer(status=200, body=answer)

        return honest

    def _note(
        self,
        endpoint: Endpoint,
        question: Json,
        fault: Fault | None,
        response: web.Response | None,
    ) -> None:
        authorization = questions.authorization(question)
        text = response.text if response is not None else None
        self.calls.append(
            FacilitatorCall(
                endpoint=endpoint,
                x402_version=question.get("x402Version"),
                payer=authorization.get("from"),
                nonce=authorization.get("nonce"),
                fault=fault,
                status=response.status if response is not None else None,
                answer=questions.json_or_none(text),
                declared=questions.declared(question),
            )
        )

    async def _show_calls(self, _: web.Request) -> web.Response:
        shown = [
            {
                "endpoint": call.endpoint,
                "x402Version": call.x402_version,
                "payer": call.payer,
                "nonce": call.nonce,
                "fault": call.fault.kind if call.fault else None,
                "status": call.status,
                "answer": call.answer,
                "declared": call.declared,
            }
            for call in self.calls
        ]
        return web.json_response(shown)

    async def _show_faults(self, _: web.Request) -> web.Response:
        return web.json_response([fault.as_json() for fault in self.faults.planned()])

    async def _add_fault(self, request: web.Request) -> web.Response:
        try:
            fault = Fault.from_json(await _question(request))
        except (KeyError, ValueError, TypeError) as error:
            raise web.HTTPBadRequest(text=f"no such fault: {error}") from error
        self.faults.add(fault)
        return web.json_response(fault.as_json(), status=201)

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self.faults.clear()
        return web.Response(status=204)

    def _require_core(self) -> Core:
        if self._core is None:
            raise RuntimeError("the facilitator has not been started")
        return self._core


def _make_core(options: FacilitatorOptions) -> Core:
    #  A dependency of the SDK sets the recursion limit of the whole process to 100,000 on import;
    # with that, nested JSON from outside can crash the process.
    limit = sys.getrecursionlimit()
    from pve402_devnet.facilitator.core import Core  # noqa: PLC0415 - slow to load
    from pve402_devnet.facilitator.signer import NodeSigner  # noqa: PLC0415 - slow to load

    sys.setrecursionlimit(limit)
    signer = NodeSigner(
        call_node=options.call_node,
        private_key=options.private_key,
        receipt_timeout_seconds=options.receipt_timeout_seconds,
    )
    return Core(
        signer=signer,
        network=options.network,
        network_v1=options.network_v1,
        factories=options.wallet_factories,
    )


async def _question(request: web.Request) -> Json:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send application/json")
    question = questions.json_or_none(await request.text())
    if question is None:
        raise web.HTTPBadRequest(text="the body is not a JSON object")
    return question
