"""Counters of the HTTP side, for Prometheus."""

import functools

import prometheus_client
from starlette.types import Scope

ANSWERS = prometheus_client.Counter(
    "pve402_http_answers_total", "Answers by route and status.", ("route", "status")
)
OVERLOADED = prometheus_client.Counter(
    "pve402_http_overloaded_total", "Requests refused because too many were under way."
)


def answered(scope: Scope, status: int) -> None:
    """Count one answer under the route's pattern, so that ids make no series of their own."""
    route = scope.get("route")
    _counter(getattr(route, "path", "none"), status).inc()


@functools.cache
def _counter(route: str, status: int) -> prometheus_client.Counter:
    """Keep the counter of a route and status at hand; there are as many as there are series."""
    return ANSWERS.labels(route, str(status))
