"""Routes whose handlers take the request and return the response, with nothing in between.

FastAPI reads bodies, solves dependencies and validates answers for handlers that ask for it. Ours
read bodies with bounds of their own and answer with ready responses, so all that is skipped, and
what remains of FastAPI is routing and the OpenAPI document.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]


class PlainRoute(APIRoute):
    """A route that calls its endpoint with the request alone."""

    def __init__(self, path: str, endpoint: Handler, **documentation: Any) -> None:
        super().__init__(path, endpoint, **documentation)
        self.handler = endpoint
        self.app = _answering(endpoint)


def _answering(endpoint: Handler) -> ASGIApp:
    """Make the ASGI application of a handler; what it raises is the application's to answer."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await endpoint(Request(scope, receive, send))
        await response(scope, receive, send)

    return answer


def router(tag: str) -> APIRouter:
    """Make a router of plain routes for one noun."""
    return APIRouter(route_class=PlainRoute, tags=[tag])
