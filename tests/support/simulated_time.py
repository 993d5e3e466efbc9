"""Time that passes at once, for tests in which everything happens in one event loop.

    pytestmark = pytest.mark.usefixtures("simulated_time")

While something can be done no time passes, however busy the machine is; when all wait, the clock
moves to the next moment somebody waits for. Not for tests with sockets, threads or processes.
"""

import asyncio
import time
from typing import Any

import pytest


@pytest.fixture
async def simulated_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the loop's clock, and `time.monotonic`, be moved by waiting alone."""
    selector: Any = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    honest, now = selector.select, time.monotonic()

    def select(timeout: float | None = None) -> Any:
        nonlocal now
        found = honest(timeout if timeout is None else 0)
        if timeout is not None and not found:
            now += max(0.0, timeout)
        return found

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(selector, "select", select)
