"""What a server uses while it serves for long: memory, file handles, database connections."""

import asyncio
import dataclasses
import statistics
import time
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sa_asyncio
from tests.chaos import stage

_INTERVAL_SECONDS = 5.0
_GROWTH = 1.15
_SLACK = {"memory_mb": 16.0, "files": 24.0, "connections": 6.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One look at the server that is spared, and at the database."""

    seconds: float
    memory_mb: float
    files: float
    connections: float


@dataclasses.dataclass(kw_only=True)
class Gauge:
    """Looks again and again, and says whether what it saw was level at the end."""

    samples: list[Sample] = dataclasses.field(default_factory=list)

    async def watch(self, where: stage.Stage) -> None:
        """Look at the first server, for ever."""
        began = time.monotonic()
        spared = where.replicas[0]
        url = sa.make_url(where.database_url).set(drivername="postgresql+asyncpg")
        engine = sa_asyncio.create_async_engine(url, pool_size=1)
        try:
            while True:
                await asyncio.sleep(_INTERVAL_SECONDS)
                async with engine.connect() as tx:
                    query = sa.text(
                        "SELECT count(*) FROM pg_stat_activity WHERE datname IS NOT NULL"
                    )
                    connections = await tx.scalar(query)
                sample = Sample(
                    seconds=time.monotonic() - began,
                    memory_mb=spared.rss_mb(),
                    files=spared.open_files(),
                    connections=float(connections or 0),
                )
                self.samples.append(sample)
        finally:
            await engine.dispose()

    def violations(self) -> list[str]:
        """What grew from the second quarter of the time to the last."""
        if len(self.samples) < 8:
            return ["the server was not looked at for long enough"]
        found = []
        for name, slack in _SLACK.items():
            before, after = self._quarter(name, 1), self._quarter(name, 3)
            if after > before * _GROWTH + slack:
                found.append(f"{name} grew from {before:.0f} to {after:.0f}")
        return found

    def table(self) -> str:
        """Medians of the four quarters of the time."""
        lines = [f"{'quarter':12}" + "".join(f"{name:>13}" for name in _SLACK)]
        for quarter in range(4):
            cells = (f"{self._quarter(name, quarter):>13.0f}" for name in _SLACK)
            lines.append(f"{quarter + 1:<12}" + "".join(cells))
        return "\n".join(lines)

    def _quarter(self, name: str, quarter: int) -> float:
        length = len(self.samples) // 4
        part: Sequence[Sample] = self.samples[quarter * length : (quarter + 1) * length]
        return float(statistics.median(getattr(sample, name) for sample in part))
