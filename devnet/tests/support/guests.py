"""Guests with real shells, as a pytest fixture.

Import it into a conftest.py:

    from devnet.tests.support.guests import runtime  # noqa: F401
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pve402_devnet.guests.options import RuntimeOptions
from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve.runtime import GuestSpec


def spec(template: str = "busybox-alpine", cmode: str = "shell", password: str = "") -> GuestSpec:
    """A guest as most tests want it."""
    return GuestSpec(node="pve", hostname="ct", template=template, cmode=cmode, password=password)


async def expect_soon(condition: Callable[[], bool], limit_seconds: float = 10.0) -> None:
    """Wait for what no event tells."""
    deadline = time.monotonic() + limit_seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.02)


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[NamespaceRuntime]:
    """Guests that end with the test."""
    made = NamespaceRuntime(RuntimeOptions(disks=str(tmp_path / "disks")))
    yield made
    await made.close()
