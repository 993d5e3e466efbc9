"""Time that passes at once, for tests in which everything happens in one event loop.

    pytestmark = pytest.mark.usefixtures("simulated_time")

or, in a loop of a test's own,

    with simulated_time.moved_by_waiting():

While something can be done no time passes, however busy the machine is; when all wait, the clock
moves to the next moment somebody waits for. Not for tests with sockets, threads or processes.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest


@pytest.fixture
async def simulated_time() -> AsyncIterator[None]:
    """Let the test's clock be moved by waiting alone."""
    with moved_by_waiting():
        yield


@contextlib.contextmanager
def moved_by_waiting() -> Iterator[None]:
    """Let the clock of the running loop, and `time.monotonic`, be moved by waiting alone."""
    selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    honest, now = selector.select, time.monotonic()

    def select(timeout: float | None = None) -> Any:
        nonlocal now
        found = honest(timeout if timeout is None else 0)
        if timeout is not None and not found:
            now += max(0.0, timeout)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: now)
        patch.setattr(selector, "select", select)
        yield
