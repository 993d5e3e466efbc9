"""Routes whose handlers take the request and return the response, with nothing in between.

FastAPI reads bodies, solves dependencies and validates answers for handlers that ask for it. Ours
read bodies with bounds of their own and answer with ready responses, so all that is skipped, and
what remains of FastAPI is routing and the OpenAPI document.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import override


class PlainRoute(APIRoute):
    """A route that calls its endpoint with the request alone."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


def router(tag: str) -> APIRouter:
    """Make a router of plain routes for one noun."""
    return APIRouter(route_class=PlainRoute, tags=[tag])
