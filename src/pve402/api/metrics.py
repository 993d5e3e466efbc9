"""Counters of the HTTP side, for Prometheus."""

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
    ANSWERS.labels(getattr(route, "path", "none"), str(status)).inc()
