"""An installation in this process and its outside world in another, for measuring the first."""

import asyncio
import contextlib
import gc
import os
import resource
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.chaos import stage
from tests.support import postgres

from pve402 import bootstrap, config

INSTANCE = "bench"


@contextlib.contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The address of an empty database that is gone afterwards."""
    if kind == "sqlite":
        yield f"sqlite:///{folder}/bench.sqlite3"
        return
    with postgres.running_server() as server:
        yield server.create_database().replace("postgresql+asyncpg://", "postgresql://")


@contextlib.asynccontextmanager
async def installation(
    kind: str, *, latency_scale: float = 0.0, **settings: str
) -> AsyncIterator[tuple[bootstrap.Components, stage.Stage]]:
    """An installation that is built and not yet opened, and its world, which runs."""
    with tempfile.TemporaryDirectory(prefix="pve402-bench-") as name:
        folder = Path(name)
        with database(kind, folder) as url:
            async with stage.open_stage(folder, url, 0, {}, latency_scale) as where:
                chosen = {
                    **stage.settings_of(where.addresses, url),
                    "PVE402_INSTANCE": INSTANCE,
                    **settings,
                }
                yield bootstrap.build(_settings(chosen)), where


def _settings(chosen: Mapping[str, str]) -> config.Settings:
    lower: dict[str, Any] = {key.lower(): value for key, value in chosen.items()}
    return config.Settings(**lower, _env_file=None)


def settle_heap() -> None:
    """Leave what the start made to no later collection, as the server does once it listens."""
    gc.collect()
    gc.freeze()


class Usage:
    """What this process has used since this was made."""

    def __init__(self) -> None:
        self._cpu = _cpu_seconds()
        self._began = time.monotonic()

    @property
    def cpu_percent(self) -> float:
        """Of one core."""
        return 100 * (_cpu_seconds() - self._cpu) / (time.monotonic() - self._began)

    @property
    def memory_mb(self) -> float:
        """Resident memory now."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def milliseconds(values: Sequence[float]) -> str:
    """Median and 99th percentile of some seconds, in milliseconds."""
    if not values:
        return "-"
    ordered = sorted(values)
    return f"{ordered[len(ordered) // 2] * 1e3:.0f} / {ordered[int(len(ordered) * 0.99)] * 1e3:.0f}"


async def until(true: Callable[[], bool], limit_seconds: float) -> None:
    """Wait until something is true; raises TimeoutError."""
    give_up_at = time.monotonic() + limit_seconds
    while not true():
        if time.monotonic() > give_up_at:
            raise TimeoutError
        await asyncio.sleep(0.05)
