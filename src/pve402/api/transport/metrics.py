"""Prometheus counters for HTTP."""

import functools

import prometheus_client
from starlette.types import Scope

ANSWERS = prometheus_client.Counter(
    "pve402_http_answers_total", "Answers by route and status.", ("route", "status")
)
OVERLOADED = prometheus_client.Counter(
    "pve402_http_overloaded_total",
    "Requests refused because too many came, or were in progress.",
)


def answered(scope: Scope, status: int) -> None:
    """Count one answer under its route's pattern, so ids do not create extra series."""
    route = scope.get("route")
    _counter(getattr(route, "path", "none"), status).inc()


@functools.cache
def _counter(route: str, status: int) -> prometheus_client.Counter:
    """Cache the counter of a route and status; one entry per series."""
    return ANSWERS.labels(route, str(status))
