"""Puts the application together from what bootstrap built."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from pve402 import config
from pve402.api import (
    address,
    auth,
    catalogue,
    context,
    errors,
    gate,
    guard,
    health,
    lease,
    management,
    openapi,
    stats,
)
from pve402.api import headers as answer_headers
from pve402.leases import access, service
from pve402.payments import protocol

_PAID_MARGIN_SECONDS: Final = 60  # a paid request says by itself that its order is pending
EXPOSED: Final = [*protocol.EXPOSED_HEADERS, "Retry-After", "Location"]
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]


def assemble(
    app_context: context.Context,
    *,
    public_url: str,
    limits: guard.GuardLimits,
    cors_origins: tuple[str, ...],
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """Make the application; the last middleware added is the first that a request meets.

    CORS is outermost: a browser reads no answer without it, refusals and failures included.
    """
    app = FastAPI(docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.context = app_context
    errors.install(app)
    app.add_exception_handler(gate.PaymentNeeded, gate.payment_needed)
    for noun in (lease, management, stats, catalogue, auth, health):
        app.include_router(noun.router)
    app.openapi = openapi.Document(app=app, public_url=public_url)  # type: ignore[method-assign]
    app.add_middleware(guard.Guard, limits=limits)
    app.add_middleware(answer_headers.Headers, public_url=public_url)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(cors_origins),
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["*"],
        expose_headers=EXPOSED,
        max_age=600,
    )
    return app


class Components(Protocol):
    """What bootstrap builds, as far as the HTTP layer needs it."""

    settings: config.Settings
    leases: service.LeaseService
    access: access.Access

    async def start(self) -> None:
        """Open what must be open before the first request, and recover what was cut off."""

    async def stop(self) -> None:
        """Finish or hand over what runs, and close everything."""

    async def readiness(self) -> dict[str, bool]:
        """Say of each part whether it lets us serve: database, recovery, proxmox."""


def create_app(components: Components) -> FastAPI:
    """Make the application of a set of components; its life starts and stops them."""
    settings = components.settings

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await components.start()
        try:
            yield
        finally:
            await components.stop()

    return assemble(
        _context(components),
        public_url=settings.public_url,
        limits=guard.GuardLimits(
            requests=settings.pve402_max_requests,
            paid_requests=settings.pve402_max_paid_requests,
            request_seconds=settings.pve402_request_seconds,
            paid_request_seconds=settings.pve402_create_wait_seconds + _PAID_MARGIN_SECONDS,
        ),
        cors_origins=settings.pve402_cors_origins,
        lifespan=lifespan,
    )


def _context(components: Components) -> context.Context:
    settings = components.settings
    options = gate.GateOptions(
        networks=settings.network,
        pay_to=settings.pay_to,
        public_url=settings.public_url,
        payment_seconds=settings.pve402_payment_seconds,
        create_wait_seconds=settings.pve402_create_wait_seconds,
    )
    clients = address.ClientAddresses(settings.pve402_trusted_proxies)
    return context.Context(
        leases=components.leases,
        access=components.access,
        gate=gate.Gate(options, clients),
        stats_fields=frozenset(settings.pve402_stats_node_fields),
        readiness=components.readiness,
    )
