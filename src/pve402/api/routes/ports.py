"""Published ports of a lease, and the way to any port for programs."""

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import caller, context
from pve402.api.messages import ports as port_messages
from pve402.api.messages import reply
from pve402.api.openapi import operations
from pve402.api.ports import programs
from pve402.api.transport import body, routing
from pve402.domain import errors, published
from pve402.domain.lease import Lease
from pve402.leases import ports

router = routing.Router("ports")

_LOOK = "A look at the published ports of a container"
_PUBLISH = "A published port of a container"
_WITHDRAW = "The end of a published port"
_LOG_IN = "A link to a private port"


@router.get("/management/ports/{ctid}", **operations.ports(schemas.PortsAnswer))
async def list_ports(request: Request) -> Response:
    """List the published ports of the container."""
    call = await _admitted(request, _LOOK)
    if isinstance(call, Response):
        return call
    await call.charge()
    return await _listed(request, call.the_lease)


@router.post(
    "/management/ports/{ctid}", **operations.ports(schemas.PortItem, request=schemas.PortRequest)
)
async def publish_port(request: Request) -> Response:
    """Publish a port of the container under a host name, or change who may use it.

    HTTP and websockets go to the server on the container's own loopback.
    """
    call = await _admitted(request, _PUBLISH)
    if isinstance(call, Response):
        return call
    await context.of(request).leases.require_active(call.the_lease)
    wish = body.parse(await body.read(request), schemas.PortRequest)
    await call.charge()
    app = context.of(request)
    done = await app.ports.publish(
        call.the_lease,
        wish.port,
        published.Access(wish.access),
        body.in_utc(wish.expires_at, "expiresAt"),
    )
    return reply.respond(port_messages.item(app.ports, done))


@router.delete("/management/ports/{ctid}", **operations.ports(schemas.PortsAnswer, query=["port"]))
async def unpublish_port(request: Request) -> Response:
    """Publish a port no more; answers with those that are left."""
    call = await _admitted(request, _WITHDRAW)
    if isinstance(call, Response):
        return call
    port = _port(request.query_params.get("port", ""))
    await call.charge()
    await context.of(request).ports.withdraw(call.the_lease, port)
    return await _listed(request, call.the_lease)


@router.post(
    "/management/ports/{ctid}/login",
    **operations.ports(schemas.PortLoginAnswer, request=schemas.PortLoginRequest),
)
async def make_port_login(request: Request) -> Response:
    """Make a link that logs one browser in to a private port, once, within 5 minutes."""
    call = await _admitted(request, _LOG_IN)
    if isinstance(call, Response):
        return call
    await context.of(request).leases.require_active(call.the_lease)
    wish = body.parse(await body.read(request), schemas.PortLoginRequest)
    await call.charge()
    app, row = context.of(request), call.the_lease
    secret = await app.ports.make_link(row, wish.port, caller.token_text(request))
    url = f"{app.ports.origin(wish.port, row.lease_id)}/.pve402/login#{secret.text}"
    return reply.respond(schemas.PortLoginAnswer(url=url, expires_at=secret.expires_at))


@router.get("/management/http/{ctid}/{port}/{path:path}", **operations.port_request())
async def get_from_port(request: Request) -> Response:
    """Pass a request on to a server on the container's loopback, and its answer back.

    The token is in `Pve402-Token`, so `Authorization` is the server's. HEAD, POST, PUT, PATCH and
    DELETE work as well, and websockets.
    """
    return programs.Carried()


async def _pass_on(_request: Request) -> Response:
    return programs.Carried()


for _method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
    router.routes.append(
        routing.PlainRoute(_method, programs.PATH, _pass_on, include_in_schema=False)
    )
router.routes.append(programs.socket_route())


async def _admitted(request: Request, description: str) -> caller.Call | Response:
    return await caller.admit(request, scope=ports.SCOPE, description=description, find_lease=True)


async def _listed(request: Request, row: Lease) -> Response:
    return reply.respond(await port_messages.of_lease(context.of(request).ports, row))


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise errors.InvalidRequest("port must be a number from 1 to 65535")
    return int(text)
