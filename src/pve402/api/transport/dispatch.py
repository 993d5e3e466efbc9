"""Dispatches requests: from a table if the path has no parameters, else through the routes.

FastAPI matches a path against one pattern after another, and catches exceptions two layers further
out. For a path without parameters, one table look-up finds the same handler, and the same error
table answers its exceptions. All other requests go through FastAPI's routes, except that a wrong
method on a path in the table gets 405 here.
"""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pve402.api.transport import head, routing

Known = dict[tuple[str, str], routing.PlainRoute]


class Dispatch:
    """ASGI application over the routes of a FastAPI application and its exception handlers."""

    def __init__(self, app: FastAPI) -> None:
        self._known = plain_routes(app.routes)
        self._methods = _methods(app.routes)
        self._handlers = app.exception_handlers
        self._by_routes: ASGIApp = ExceptionMiddleware(app.router, handlers=app.exception_handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request or a websocket."""
        if scope["type"] != "http":
            await self._by_routes(scope, receive, send)
        elif scope["method"] == "HEAD":
            await head.serve(self._serve, scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._known.get((scope["method"], scope["path"]))
        if route is None and self._is_refused(scope):
            # Otherwise a route with a leaseId would match and take the path for an id.
            refusal = HTTPException(405)
            response = await self._refusal(Request(scope, receive, send), refusal)
            await response(scope, receive, send)
            return
        if route is None:
            await self._by_routes(scope, receive, send)
            return
        scope["route"], scope["path_params"] = route, {}
        request = Request(scope, receive, send)
        try:
            response = await route.handler(request)
        except Exception as error:  # noqa: BLE001 -- raised again if it has no handler
            response = await self._refusal(request, error)
        await response(scope, receive, send)

    def _is_refused(self, scope: Scope) -> bool:
        methods = self._methods.get(scope["path"])
        return methods is not None and scope["method"] not in methods

    async def _refusal(self, request: Request, error: Exception) -> Response:
        """Answer a handler's exception, by its class or its nearest base class."""
        for kind in type(error).__mro__:
            handler: Any = self._handlers.get(kind)
            if handler is not None:
                answer: Response = await handler(request, error)
                return answer
        raise error


def _methods(routes: Iterable[BaseRoute]) -> dict[str, set[str]]:
    """Return the methods of each path that has no parameters."""
    methods: dict[str, set[str]] = {}
    for route in routes:
        if isinstance(route, Route) and not route.param_convertors:
            methods.setdefault(route.path, set()).update(route.methods or ())
    return methods


def plain_routes(routes: Iterable[BaseRoute]) -> Known:
    """Return the routes without parameters by method and path, if they are the first match."""
    in_order = list(routes)
    plain = [
        route
        for route in in_order
        if isinstance(route, routing.PlainRoute) and not route.param_convertors
    ]
    asked = [(method, route) for route in plain for method in route.methods or ()]
    return {
        (method, route.path): route
        for method, route in asked
        if _first(in_order, method, route.path) is route
    }


def _first(routes: Iterable[BaseRoute], method: str, path: str) -> BaseRoute | None:
    scope: Scope = {"type": "http", "method": method, "path": path, "headers": []}
    found = (route for route in routes if route.matches(scope)[0] is Match.FULL)
    return next(found, None)
