"""The way to any port for programs, on the main origin: it needs no name and no publishing.

The path names the lease and the port. The credential is `Pve402-Token`, a header that no page sends
by itself and that the server in the guest never gets. An answer must do nothing as a page of ours:
it is sandboxed, and sets nothing. Cookies of the main origin are not the guest's, so it gets none.
"""

import re
from collections.abc import Sequence
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from typing_extensions import override

from pve402.api import caller, context
from pve402.api.ports import exchange, headers, visits
from pve402.api.transport import errors as error_table
from pve402.domain import errors, power
from pve402.domain.lease import Lease
from pve402.guests import open_calls
from pve402.storage import vault

PATH: Final = "/management/http/{ctid}/{port}/{path:path}"
_PREFIX: Final = re.compile(rb"(/management/http/[^/?]+/([0-9]{1,5}))(/[^?]*)")


class Carried(Response):
    """Passes its request on, and sends the answer as it comes."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _carry(HTTPConnection(scope), receive, send)


def socket_route() -> WebSocketRoute:
    """The route of websockets."""
    return WebSocketRoute(PATH, _socket)


async def _socket(socket: WebSocket) -> None:
    begun = False

    async def receive() -> dict[str, object]:
        return dict(await socket.receive())

    async def send(message: dict[str, object]) -> None:
        nonlocal begun
        begun = True
        await socket.send(message)

    try:
        await _carry(HTTPConnection(socket.scope), receive, send)  # type: ignore[arg-type]
    except errors.Pve402Error as error:
        answer = error_table.answer(error)
        if begun:
            await socket.close(4000 + answer.status_code, error.code)
        else:
            await socket.send_denial_response(answer)


async def _carry(connection: HTTPConnection, receive: Receive, send: Send) -> None:
    scope = connection.scope
    token = headers.value(scope["headers"], headers.TOKEN)
    if token is None:
        raise errors.Unauthenticated("Send the lease's accessToken in the header Pve402-Token.")
    app = context.of(connection)
    text = caller.checked_lease_text(connection.path_params["ctid"])
    holder = await app.access.authenticate(token)
    found = await app.leases.find(text, holder)
    await app.ports.holder(token, found)
    await app.leases.require_active(found)
    found = await app.leases.wake_for(found, power.Use.PORT)
    call = open_calls.OpenCall(found, vault.token_hash(token))
    await visits.carry(connection, _goal(connection, found), call, receive, send)


def _goal(connection: HTTPConnection, found: Lease) -> exchange.Goal:
    scope = connection.scope
    match = _PREFIX.fullmatch(scope["raw_path"])
    port = int(match[2]) if match else 0
    if match is None or not 0 < port < 65536:
        raise errors.InvalidRequest("the port must be a number from 1 to 65535")
    visitor = headers.Visitor(
        host=f"localhost:{port}",
        scheme="http",
        address=connection.app.state.clients.of(scope),
        prefix=match[1].decode("latin-1"),
    )
    query, received = scope["query_string"], scope["headers"]
    framing = headers.body_framing(received) if scope["type"] == "http" else []

    def rewrite(answered: Sequence[headers.Header]) -> list[headers.Header]:
        kept = headers.for_main_origin(answered)
        return headers.with_location(kept, visitor, port, has_token=True)

    return exchange.Goal(
        lease=found,
        port=port,
        target=match[3] + b"?" + query if query else match[3],
        request_headers=[*headers.for_guest(received, visitor, None), *framing],
        rewrite=rewrite,
    )
