"""Assembles the application from the components that bootstrap built."""

import dataclasses
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from importlib import resources
from typing import Any, Final

from fastapi import FastAPI
from starlette.datastructures import State
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from pve402 import bootstrap, config
from pve402.api import context, gate
from pve402.api.openapi import document
from pve402.api.peers import listener
from pve402.api.ports import names, pool
from pve402.api.routes import (
    archives,
    auth,
    catalogue,
    console,
    discovery,
    entries,
    files,
    forks,
    health,
    inbound,
    keys,
    lease,
    management,
    owed,
    pages,
    ports,
    power,
    private_images,
    pulls,
    reinstalls,
    size_changes,
    snapshots,
    stats,
    watching,
)
from pve402.api.routes import exec as commands
from pve402.api.sockets import console as console_sockets
from pve402.api.sockets import port as port_sockets
from pve402.api.sockets import stream as stream_sockets
from pve402.api.transport import address, dispatch, errors, guard, side_listener
from pve402.api.transport import headers as answer_headers
from pve402.domain import catalogue as catalogues
from pve402.domain import published
from pve402.leases import request_rates
from pve402.payments import protocol

_PAID_MARGIN_SECONDS: Final = 60  # time for a paid request to answer that its order is pending
LINK_REQUESTS: Final = 600
"""Requests a minute of one address that the listener for uploads answers."""
EXPOSED: Final = [
    *protocol.EXPOSED_HEADERS,
    *("Retry-After", "Location", "ETag", "Repr-Digest", "Content-Range"),
]
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
    port_names: names.NameOptions | None = None,
    lifespan: Lifespan | None = None,
) -> FastAPI:
    """Build the application: headers, then limits, then the handlers.

    CORS is outermost because a browser cannot read any answer without it, not even an error.
    """
    # A redirect would use the Host header, which the client chooses.
    app = Application(docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan)
    app.state.context, app.state.has_shop = app_context, app_context.has_shop
    app.state.port_pool = pool.Pool(app_context.work)
    errors.install(app)
    app.add_exception_handler(gate.PaymentNeeded, gate.payment_needed)
    _add_routes(app, public_url, lambda: app_context.leases.catalogue)
    clients = app.state.clients = address.ClientAddresses(trusted_proxies)
    served: ASGIApp = dispatch.Dispatch(app)
    if port_names is not None:
        served = names.Inner(served, names.Names(port_names))
    guarded = guard.Guard(served, limits=limits, clients=clients)
    app.outermost = answer_headers.Headers(
        guarded, public_url=public_url, origins=cors_origins, exposed=EXPOSED
    )
    if port_names is not None:
        app.outermost = names.Fork(app.outermost, guarded, port_names.domain)
    return app


def openapi_text(public_url: str) -> str:
    """Return the OpenAPI document as stored in docs/reference."""
    app = FastAPI(docs_url=None, redoc_url=None)
    shipped = (resources.files("pve402.domain") / "default_catalogue.toml").read_text()
    on_sale = catalogues.parse(shipped)
    _add_routes(app, public_url, lambda: on_sale)
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


def _add_routes(app: FastAPI, public_url: str, on_sale: Callable[[], catalogues.Catalogue]) -> None:
    into_guests = (
        commands,
        files,
        archives,
        watching,
        entries,
        keys,
        console,
        console_sockets,
        stream_sockets,
        ports,
    )
    bought = (
        *(lease, power, size_changes, reinstalls, snapshots, private_images, forks),
        *(inbound, owed, management),
    )
    seen = (stats, catalogue, discovery, auth, health)
    for noun in (*bought, *into_guests, pulls, pages, *seen):
        app.router.routes.extend(noun.router.routes)
    documented = document.Document(app=app, public_url=public_url, on_sale=on_sale)
    app.openapi = documented  # type: ignore[method-assign]


def create_app(components: bootstrap.Components) -> FastAPI:
    """Build the application for these components; its lifespan starts and stops them."""
    settings = components.settings
    app_context = _context(components)
    limits = guard.GuardLimits(
        requests=settings.pve402_max_requests,
        paid_requests=settings.pve402_max_paid_requests,
        request_seconds=settings.pve402_request_seconds,
        paid_request_seconds=settings.pve402_create_wait_seconds + _PAID_MARGIN_SECONDS,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        fetches = request_rates.RequestRates(components.db, of_address=LINK_REQUESTS)
        of_guests = dataclasses.replace(limits, count=fetches.count_address)
        links = _links(app_context, settings.pve402_guest_bind, of_guests)
        async with components, _peers(components, app_context), links:
            yield
            await app.state.port_pool.close()

    return assemble(
        app_context,
        public_url=settings.public_url,
        limits=dataclasses.replace(limits, count=components.rates.count_address),
        cors_origins=settings.pve402_cors_origins,
        trusted_proxies=settings.pve402_trusted_proxies,
        port_names=_port_names(settings),
        lifespan=lifespan,
    )


def _port_names(settings: config.Settings) -> names.NameOptions | None:
    if settings.pve402_ports_domain is None:
        return None
    return names.NameOptions(
        domain=published.PortsDomain(settings.pve402_ports_domain),
        warns=settings.pve402_ports_warning,
        contact=settings.pve402_ports_contact,
        trusted_proxies=settings.pve402_trusted_proxies,
    )


def _peers(
    components: bootstrap.Components, app_context: context.Context
) -> AbstractAsyncContextManager[None]:
    """Listen for other replicas if this service is set up to have any."""
    address, calls = components.settings.pve402_peer_bind, components.guest_work.peers
    if address is None or calls is None:
        return nullcontext()
    files_and_folders = (files, archives, watching, entries)
    sockets = (console_sockets, stream_sockets, port_sockets)
    nouns = (commands, *files_and_folders, pulls, keys, *sockets)
    into_guests = [noun.router for noun in nouns]
    app = listener.assemble(app_context, address, calls.signer, into_guests)
    return side_listener.listening(app, address, purpose="peers")


@asynccontextmanager
async def _links(
    app_context: context.Context, address: str | None, limits: guard.GuardLimits
) -> AsyncIterator[None]:
    """Listen for containers that fetch uploads, and answer them nothing else.

    Raises SettingsError if we cannot listen there.
    """
    if address is None:
        yield
        return
    app = Application(openapi_url=None, redirect_slashes=False)
    app.state.context = app_context
    errors.install(app)
    app.router.routes.extend(pulls.router.routes)
    app.outermost = guard.Guard(dispatch.Dispatch(app), limits=limits)
    serving = side_listener.listening(app, address, purpose="uploads")
    async with AsyncExitStack() as open_now:
        try:
            await open_now.enter_async_context(serving)
        except OSError as error:
            reason = f"PVE402_GUEST_BIND: {address}: {error.strerror}"
            raise config.SettingsError({"PVE402_GUEST_BIND": reason}) from error
        yield


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
        images=components.private_images,
        forks=components.forks,
        access=components.access,
        gate=gate.Gate(
            options,
            clients,
            is_readable=components.chain_watch.is_readable,
            versions=components.support.versions,
            count_payer=components.rates.count_payer,
        ),
        rates=components.rates,
        work=components.guest_work,
        ports=bootstrap.published_ports(components),
        stats_fields=frozenset(settings.pve402_stats_node_fields),
        readiness=components.readiness,
        has_shop=settings.pve402_shop,
        ssh_way=None if components.jump is None else components.jump.way,
    )
