"""Prometheus metrics of the work in guests."""

from typing import Final

import prometheus_client

COMMANDS: Final = prometheus_client.Counter(
    "pve402_commands_total",
    "Attached commands that ended: done (exit code 0), failed (any other), timed_out, "
    "cancelled, or the code of the error that lost them.",
    ("outcome",),
)
COMMAND_SECONDS: Final = prometheus_client.Histogram(
    "pve402_command_seconds",
    "Time from the start of an attached command until its end was known here.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 120, 600, 3600),
)
SESSIONS: Final = prometheus_client.Gauge(
    "pve402_terminal_sessions", "Terminals of guests that this process holds open."
)
STREAMS: Final = prometheus_client.Gauge(
    "pve402_streams", "Streams into guests that this process holds open."
)
STREAM_BYTES: Final = prometheus_client.Counter(
    "pve402_stream_bytes_total",
    "Bytes that streams have carried, in to guests and out of them.",
    ("direction",),
)


def count(outcome: str, seconds: float) -> None:
    """Count a command that has ended."""
    COMMANDS.labels(outcome).inc()
    COMMAND_SECONDS.observe(seconds)
