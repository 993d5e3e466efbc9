"""What acceptance tests stand on: processes of our own, real sockets, and a real browser."""

from typing import Any

import pytest
from tests.support.console_pages import chromium, page, profile, shots
from tests.support.port_names import named, naming
from tests.support.preloaded import forks
from tests.support.processes import ServeProcess, devnet, serve, service

__all__ = [
    "chromium",
    "devnet",
    "forks",
    "named",
    "naming",
    "page",
    "profile",
    "serve",
    "service",
    "shots",
]


@pytest.fixture(scope="module")
def owner(service: ServeProcess) -> Any:
    """A wallet with money."""
    return service.devnet.wallet(5_000_000)
