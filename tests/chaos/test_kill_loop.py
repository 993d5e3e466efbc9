"""The kill loop in its short form: bounded by work and by time, on both databases."""

from pathlib import Path

import pytest
from tests.chaos import loop, plan
from tests.support import postgres

postgres_server, postgres_url = postgres.postgres_server, postgres.postgres_url
_LEASES = 150
_LOAD_SECONDS = 20.0


@pytest.mark.timeout(200)
async def test_one_server_on_sqlite_loses_nothing_when_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = plan.Plan(
        database_url=f"sqlite:///{tmp_path}/pve402.sqlite3",
        leases=_LEASES,
        most_seconds=_LOAD_SECONDS,
        life_seconds=2.5,
    )

    figures = await loop.run(chosen, tmp_path)

    _show(capsys, "one server on SQLite", figures)
    assert not figures.violations
    assert figures.kills.total() > 5
    assert figures.leases > 5


@pytest.mark.postgres
@pytest.mark.timeout(200)
async def test_three_servers_on_postgresql_lose_nothing_when_killed(
    postgres_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = plan.Plan(
        database_url=postgres_url.replace("postgresql+asyncpg://", "postgresql://"),
        replicas=3,
        leases=_LEASES,
        most_seconds=_LOAD_SECONDS,
        life_seconds=6.0,
        stall_seconds=4.0,
    )

    figures = await loop.run(chosen, tmp_path)

    _show(capsys, "three servers on PostgreSQL", figures)
    assert not figures.violations
    assert figures.kills.total() > 5
    assert figures.leases > 5


def _show(capsys: pytest.CaptureFixture[str], title: str, figures: plan.Figures) -> None:
    """Print the figures, whatever the tests' output is set to."""
    with capsys.disabled():
        print(f"\n{title}\n{figures.table()}")
