"""Servers under load whose stop is asked for, whose database restarts, whose chain turns back."""

import asyncio
import itertools
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.chaos import loop, payers, plan, stage
from tests.support import postgres

_LOAD_SECONDS = 8.0
_LEAST_LEASES = 3
_LEAST_KILLS = 2


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.PostgresServer]:
    """A PostgreSQL server that these tests may stop and start."""
    with postgres.running_server() as running:
        yield running


@pytest.mark.timeout(240)
async def test_a_server_told_to_stop_under_load_loses_nothing(tmp_path: Path) -> None:
    chosen = plan.Plan(
        database_url=f"sqlite:///{tmp_path}/pve402.sqlite3",
        most_seconds=_LOAD_SECONDS,
        least_leases=_LEAST_LEASES,
        least_kills=_LEAST_KILLS,
        life_seconds=2.5,
        ending=signal.SIGTERM,
        expiry=False,
    )

    figures = await loop.run(chosen, tmp_path)

    assert not figures.violations, figures.table()
    assert figures.kills.total() >= _LEAST_KILLS
    assert figures.leases >= _LEAST_LEASES


@pytest.mark.postgres
@pytest.mark.timeout(240)
async def test_a_database_that_restarts_under_load_loses_nothing(
    server: postgres.PostgresServer, tmp_path: Path
) -> None:
    def restart(number: signal.Signals) -> None:
        server.stop(number)
        time.sleep(0.5)
        server.start()

    async def restart_again_and_again(_where: stage.Stage) -> None:
        for number in itertools.cycle((signal.SIGQUIT, signal.SIGINT)):
            await asyncio.sleep(3)
            await asyncio.to_thread(restart, number)  # goes on to the start if the load ends

    figures = await loop.run(
        _on(server, replicas=2, spared=2, during=restart_again_and_again), tmp_path
    )

    assert not figures.violations, figures.table()
    assert figures.leases >= _LEAST_LEASES


@pytest.mark.postgres
@pytest.mark.timeout(240)
async def test_blocks_that_are_dropped_are_settled_again(
    server: postgres.PostgresServer, tmp_path: Path
) -> None:
    async def turn_back_again_and_again(where: stage.Stage) -> None:
        await asyncio.sleep(1)  # the tenants' money stays
        while True:
            await asyncio.sleep(1.5)
            await where.rpc("devnet_reorg", 2)

    figures = await loop.run(
        _on(
            server,
            weather=False,
            spoiled_share=0,
            contract_share=0,  # those are made during the load: their money would vanish, too
            blocks_vanish=True,
            during=turn_back_again_and_again,
        ),
        tmp_path,
    )

    assert not figures.violations, figures.table()
    assert figures.leases >= _LEAST_LEASES


@pytest.mark.postgres
@pytest.mark.timeout(240)
async def test_three_servers_settle_with_one_key(
    server: postgres.PostgresServer, tmp_path: Path
) -> None:
    signer = payers.new_payer().key

    async def give_gas(where: stage.Stage) -> None:
        await where.rpc("devnet_fundEth", signer.address, hex(10**18))

    own_key = {"FACILITATOR_URL": "", "FACILITATOR_PRIVATE_KEY": "0x" + signer.key.hex()}

    figures = await loop.run(
        _on(
            server,
            replicas=3,
            least_kills=_LEAST_KILLS,
            life_seconds=6.0,
            before=give_gas,
            settings=own_key,
        ),
        tmp_path,
    )

    assert not figures.violations, figures.table()
    assert figures.kills.total() >= _LEAST_KILLS
    assert figures.leases >= _LEAST_LEASES


def _on(server: postgres.PostgresServer, **changes: object) -> plan.Plan:
    url = server.create_database().replace("postgresql+asyncpg://", "postgresql://")
    chosen = {
        "most_seconds": _LOAD_SECONDS,
        "least_leases": _LEAST_LEASES,
        "expiry": False,
        "spared": 0,
        **changes,
    }
    return plan.Plan(database_url=url, **chosen)  # type: ignore[arg-type]
