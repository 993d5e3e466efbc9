"""Routes whose handlers take the request and return the response, with nothing in between.

FastAPI reads bodies, resolves dependencies and validates answers for handlers that want this. Our
handlers read bodies within their own limits and return finished responses, so we skip all of that
and use FastAPI only for the OpenAPI document. We build its routes only when someone requests the
document: they prepare a schema for every answer, which would slow down the start.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.routing import APIRoute
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from typing_extensions import override

from pve402.api.transport import shapes

Handler = Callable[[Request], Awaitable[Response]]
SocketHandler = Callable[[WebSocket], Awaitable[None]]


class PlainRoute(Route):
    """A route that calls its handler with the request alone."""

    def __init__(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        shape: shapes.Shape | None = None,
        **documentation: Any,
    ) -> None:
        super().__init__(path, handler)
        self.listed = None
        if shape is not None:  # it may ask for a payment
            self.listed = shapes.Listed(method=method, path=path, shape=shape)
        self.methods = {method}  # without HEAD, which Starlette would add to GET
        self.app = _answering(handler)
        self.handler = handler
        self._documentation = documentation

    @override
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match as usual, and record the route; counters and fees use its pattern."""
        match, found = super().matches(scope)
        return match, {**found, "route": self} if found else found

    def documented(self) -> APIRoute:
        """Return the FastAPI route, for the document."""
        name = to_camel(self.handler.__name__)
        return APIRoute(
            self.path, self.handler, methods=self.methods, operation_id=name, **self._documentation
        )


class Router:
    """The routes of one noun; the noun is their tag in the document."""

    def __init__(self, tag: str) -> None:
        self.routes: list[BaseRoute] = []
        self._tag = tag

    def get(self, path: str, **documentation: Any) -> Callable[[Handler], Handler]:
        """Add the handler that this decorates."""
        return self._adding("GET", path, documentation)

    def post(self, path: str, **documentation: Any) -> Callable[[Handler], Handler]:
        """Add the handler that this decorates."""
        return self._adding("POST", path, documentation)

    def put(self, path: str, **documentation: Any) -> Callable[[Handler], Handler]:
        """Add the handler that this decorates."""
        return self._adding("PUT", path, documentation)

    def delete(self, path: str, **documentation: Any) -> Callable[[Handler], Handler]:
        """Add the handler that this decorates."""
        return self._adding("DELETE", path, documentation)

    def websocket(self, path: str) -> Callable[[SocketHandler], SocketHandler]:
        """Add the websocket handler that this decorates; a plain GET there is answered 426."""

        def add(handler: SocketHandler) -> SocketHandler:
            self.routes.append(WebSocketRoute(path, handler))
            self.routes.append(PlainRoute("GET", path, _upgrade_needed, include_in_schema=False))
            return handler

        return add

    def _adding(
        self, method: str, path: str, documentation: dict[str, Any]
    ) -> Callable[[Handler], Handler]:
        def add(handler: Handler) -> Handler:
            route = PlainRoute(method, path, handler, tags=[self._tag], **documentation)
            self.routes.append(route)
            return handler

        return add


async def _upgrade_needed(_request: Request) -> Response:
    raise HTTPException(426)


def _answering(handler: Handler) -> ASGIApp:
    """Wrap a handler as an ASGI application; the main application answers its exceptions."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)

    return answer
