"""The listener for other replicas: a small separate server, never on the public port.

It serves only the routes that reach into guests. The replica that admitted the caller signs each
call; an unsigned, stale or replayed call gets 401 without a reason.
"""

from collections.abc import AsyncIterator, Sequence

from fastapi import FastAPI
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pve402.api import context, guest_call
from pve402.api.transport import body as bodies
from pve402.api.transport import errors as error_table
from pve402.api.transport import routing
from pve402.domain import errors
from pve402.guests import peers

router = routing.Router("peer")


@router.post(peers.END_TARGET)
async def end(request: Request) -> Response:
    """Close everything that is open in a lease's guest."""
    app = context.of(request)
    lease_id = guest_call.lease_of_peer_call(request)
    if lease_id is not None:
        found = await app.leases.find(lease_id)
        await app.work.end_here(found, (await request.body()).decode("ascii", "replace"))
    return Response(status_code=204)


def assemble(
    app_context: context.Context,
    address: str,
    signer: peers.Signer,
    routers: Sequence[routing.Router],
) -> ASGIApp:
    """Build the application that peers call at an address, with only the routes into guests."""
    app = FastAPI(openapi_url=None, redirect_slashes=False)
    app.state.context = app_context
    error_table.install(app)
    for noun in (*routers, router):
        app.router.routes.extend(noun.routes)
    return _Signed(app, address, signer)


class _Signed:
    """Verifies and marks peers' calls; strips the signatures from bodies sent in pieces."""

    def __init__(self, app: ASGIApp, address: str, signer: peers.Signer) -> None:
        self._app = app
        self._address = address
        self._signer = signer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a call."""
        try:
            call, signature = self._check(scope)
            if scope["type"] == "http":
                receive = await self._body(call, signature, receive)
        except (peers.CallNotAuthentic, peers.BodyNotAuthentic):
            await _refuse(scope, receive, send, Response(status_code=401), 1008)
            return
        except errors.Overloaded as refusal:
            await _refuse(scope, receive, send, error_table.answer(refusal), 1013)
            return
        guest_call.mark_as_peer_call(scope, call.lease_id)
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> tuple[peers.PeerCall, str]:
        query = scope["query_string"].decode("latin-1")
        path = scope["raw_path"].decode("latin-1")
        target = f"{path}?{query}" if query else path
        headers = HTTPConnection(scope).headers
        return self._signer.check(self._address, scope.get("method", "GET"), target, headers)

    async def _body(self, call: peers.PeerCall, signature: str, receive: Receive) -> Receive:
        if call.body == peers.PIECES:
            return _InPieces(self._signer.pieces(signature), receive)
        return await _whole(call, receive)


async def _whole(call: peers.PeerCall, receive: Receive) -> Receive:
    """Read a short body and check it against the signed call. Raises BodyNotAuthentic."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False) and message["type"] == "http.request"
        if len(body) > bodies.MOST_READ_BYTES:
            raise peers.BodyNotAuthentic
    call.check_body(body)
    parts = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def again() -> Message:
        return next(parts, None) or await receive()

    return again


class _InPieces:
    """Receives a body sent in signed pieces."""

    def __init__(self, codes: peers.PieceCodes, receive: Receive) -> None:
        self._receive = receive
        self._pieces = codes.read(self._received())
        self._is_over = False

    async def __call__(self) -> Message:
        """Return the next part of the body, or the client's disconnect."""
        if self._is_over:
            return await self._receive()
        try:
            piece = await anext(self._pieces, None)
        except peers.BodyNotAuthentic:
            self._is_over = True
            return {"type": "http.disconnect"}
        self._is_over = piece is None
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    async def _received(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return


async def _refuse(
    scope: Scope, receive: Receive, send: Send, answer: Response, close_code: int
) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": close_code})
    elif scope["type"] == "http":
        await answer(scope, receive, send)
