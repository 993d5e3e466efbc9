"""Prometheus metrics of the jump host."""

from typing import TYPE_CHECKING, Final

import prometheus_client

if TYPE_CHECKING:
    from pve402.jump.visit import Visit

CONNECTIONS: Final = prometheus_client.Gauge(
    "pve402_jump_connections", "Connections to the jump host that are open in this process."
)
REFUSED: Final = prometheus_client.Counter(
    "pve402_jump_refused_total", "Connections to the jump host that met a limit."
)
ENDED: Final = prometheus_client.Counter(
    "pve402_jump_ended_total",
    "Connections to the jump host that ended, with a login or without.",
    ("login",),
)


def count(visit: "Visit") -> None:
    """Count a connection that has ended."""
    ENDED.labels("yes" if visit.is_proven else "no").inc()
