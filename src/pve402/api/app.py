"""Assembles the application from the components that bootstrap built."""

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any, Final

from fastapi import FastAPI
from starlette.datastructures import State
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from pve402 import bootstrap
from pve402.api import context, gate
from pve402.api.openapi import document
from pve402.api.peers import listener
from pve402.api.routes import (
    auth,
    catalogue,
    console,
    entries,
    files,
    health,
    keys,
    lease,
    management,
    owed,
    pages,
    power,
    stats,
)
from pve402.api.routes import exec as commands
from pve402.api.sockets import console as console_sockets
from pve402.api.sockets import stream as stream_sockets
from pve402.api.transport import address, dispatch, errors, guard
from pve402.api.transport import headers as answer_headers
from pve402.payments import protocol

_PAID_MARGIN_SECONDS: Final = 60  # time for a paid request to answer that its order is pending
EXPOSED: Final = [*protocol.EXPOSED_HEADERS, "Retry-After", "Location", "ETag", "Repr-Digest"]
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]


class Application(FastAPI):
    """FastAPI's routes, document and lifespan, with our own layers in place of its stack.

    FastAPI's stack supports dependencies, arbitrary exceptions and tracing. Our handlers need none
    of that, and an unpaid request should be cheap to serve.
    """

    outermost: ASGIApp

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve requests and websockets through our layers, and the lifespan through FastAPI."""
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, _telling_why(send, self.state))
            return
        scope["app"] = self
        await self.outermost(scope, receive, send)


def assemble(
    app_context: context.Context,
    *,
    public_url: str,
    limits: guard.GuardLimits,
    cors_origins: tuple[str, ...],
    trusted_proxies: tuple[str, ...] = (),
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """Build the application: headers, then limits, then the handlers.

    CORS is outermost because a browser cannot read any answer without it, not even an error.
    """
    # A redirect would use the Host header, which the client chooses.
    app = Application(docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    app.state.context = app_context
    errors.install(app)
    app.add_exception_handler(gate.PaymentNeeded, gate.payment_needed)
    _add_routes(app, public_url)
    clients = address.ClientAddresses(trusted_proxies)
    guarded = guard.Guard(dispatch.Dispatch(app), limits=limits, clients=clients)
    app.outermost = answer_headers.Headers(
        guarded, public_url=public_url, origins=cors_origins, exposed=EXPOSED
    )
    return app


def openapi_text(public_url: str) -> str:
    """Return the OpenAPI document as stored in docs/reference."""
    app = FastAPI(docs_url=None, redoc_url=None)
    _add_routes(app, public_url)
    return json.dumps(app.openapi(), indent=2) + "\n"


def _telling_why(send: Send, state: State) -> Send:
    """Report a start-up failure with an outside cause in one sentence, not as a traceback."""

    async def tell(message: Message) -> None:
        error = sys.exception()
        is_failure = message["type"] == "lifespan.startup.failed"
        if is_failure and isinstance(error, bootstrap.CANNOT_START):
            state.refusal = error
            cause = f" ({error.__cause__})" if error.__cause__ else ""
            message = {**message, "message": f"pve402 cannot start: {error}{cause}"}
        await send(message)

    return tell


def _add_routes(app: FastAPI, public_url: str) -> None:
    into_guests = (
        commands,
        files,
        entries,
        keys,
        console,
        console_sockets,
        stream_sockets,
    )
    bought = (lease, power, owed, management)
    for noun in (*bought, *into_guests, pages, stats, catalogue, auth, health):
        app.router.routes.extend(noun.router.routes)
    app.openapi = document.Document(app=app, public_url=public_url)  # type: ignore[method-assign]


def create_app(components: bootstrap.Components) -> FastAPI:
    """Build the application for these components; its lifespan starts and stops them."""
    settings = components.settings
    app_context = _context(components)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with components, _peers(components, app_context):
            yield

    return assemble(
        app_context,
        public_url=settings.public_url,
        limits=guard.GuardLimits(
            requests=settings.pve402_max_requests,
            paid_requests=settings.pve402_max_paid_requests,
            request_seconds=settings.pve402_request_seconds,
            paid_request_seconds=settings.pve402_create_wait_seconds + _PAID_MARGIN_SECONDS,
        ),
        cors_origins=settings.pve402_cors_origins,
        trusted_proxies=settings.pve402_trusted_proxies,
        lifespan=lifespan,
    )


def _peers(
    components: bootstrap.Components, app_context: context.Context
) -> AbstractAsyncContextManager[None]:
    """Listen for other replicas if this service is set up to have any."""
    address, calls = components.settings.pve402_peer_bind, components.guest_work.peers
    if address is None or calls is None:
        return nullcontext()
    into_guests = [
        noun.router for noun in (commands, files, entries, keys, console_sockets, stream_sockets)
    ]
    app = listener.assemble(app_context, address, calls.signer, into_guests)
    return listener.listening(app, address)


def _context(components: bootstrap.Components) -> context.Context:
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
        redeeming=components.redeeming,
        access=components.access,
        gate=gate.Gate(
            options,
            clients,
            is_readable=components.chain_watch.is_readable,
            versions=components.support.versions,
        ),
        work=components.guest_work,
        stats_fields=frozenset(settings.pve402_stats_node_fields),
        readiness=components.readiness,
    )
