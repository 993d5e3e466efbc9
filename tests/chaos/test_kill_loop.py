"""The kill loop in its short form: bounded by work and by time, on both databases."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.chaos import loop, plan
from tests.support import postgres

postgres_server, postgres_url = postgres.postgres_server, postgres.postgres_url
_LEASES = 150
_LOAD_SECONDS = 20.0
_LEAST_LEASES = 6
_LEAST_KILLS = 6


@pytest.mark.timeout(420)
async def test_one_server_on_sqlite_loses_nothing_when_killed(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chosen = plan.Plan(
        database_url=f"sqlite:///{tmp_path}/pve402.sqlite3",
        leases=_LEASES,
        most_seconds=_LOAD_SECONDS,
        least_leases=_LEAST_LEASES,
        least_kills=_LEAST_KILLS,
        life_seconds=2.5,
    )

    figures = await loop.run(chosen, tmp_path)

    record_property("one server on SQLite", figures.table())
    assert not figures.violations
    assert figures.kills.total() >= _LEAST_KILLS
    assert figures.leases >= _LEAST_LEASES


@pytest.mark.postgres
@pytest.mark.timeout(420)
async def test_three_servers_on_postgresql_lose_nothing_when_killed(
    postgres_url: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    chosen = plan.Plan(
        database_url=postgres_url.replace("postgresql+asyncpg://", "postgresql://"),
        replicas=3,
        leases=_LEASES,
        most_seconds=_LOAD_SECONDS,
        least_leases=_LEAST_LEASES,
        least_kills=_LEAST_KILLS,
        life_seconds=6.0,
        stall_seconds=4.0,
    )

    figures = await loop.run(chosen, tmp_path)

    record_property("three servers on PostgreSQL", figures.table())
    assert not figures.violations
    assert figures.kills.total() >= _LEAST_KILLS
    assert figures.leases >= _LEAST_LEASES
