"""What was earned, out of more orders than anybody reads."""

import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from tests.support import migrated

from pve402.ops import revenue
from pve402.storage import database, tables

BASE, SEPOLIA = "eip155:8453", "eip155:84532"
LARGE = 10**30  # more than a number of either database's own holds
ORDERS = revenue.NEWEST_ORDERS + 10


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
async def parts(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """What the command is given: a database with orders of two networks, one of them large."""
    url = migrated.lay_sqlite(f"sqlite+aiosqlite:///{tmp_path}/db.sqlite3")
    if request.param == "postgresql":
        url = request.getfixturevalue("migrated_url")
    db = await database.Database(url).open()
    many = [settled(number, SEPOLIA, 2000 + number % 2) for number in range(ORDERS - 1)]
    too_old = settled(ORDERS, SEPOLIA, LARGE, minutes_ago=2 * 24 * 60)
    async with db.begin() as tx:
        await tx.execute(tables.orders.insert(), [*many, settled(-1, BASE, LARGE), too_old])
    yield SimpleNamespace(db=db)
    await db.close()


def settled(
    number: int, network: str, amount_atomic: int, *, minutes_ago: int = 60
) -> dict[str, Any]:
    """A settled order; those of higher numbers are younger."""
    settled_at = datetime.now(UTC) + timedelta(seconds=number) - timedelta(minutes=minutes_ago)
    return {
        "order_id": f"o{number}",
        "kind": "creation",
        "status": "settled",
        "network": network,
        "asset": "0xasset",
        "payer": "0xpayer",
        "nonce": f"0x{number}",
        "pay_to": "0xpayee",
        "amount_atomic": amount_atomic,
        "valid_before": settled_at,
        "minutes": 10,
        "request_hash": "",
        "created_at": settled_at,
        "settled_at": settled_at,
        "transaction": f"0xtransaction{number}",
        "final": True,
        "attempts": 0,
    }


async def test_a_table_has_the_newest_orders_and_each_networks_own_sum(parts: Any) -> None:
    console = Console(file=io.StringIO(), width=300)

    await revenue.Revenue(since_days=1, output="table").show(parts, console)

    file: Any = console.file
    lines = file.getvalue().splitlines()
    assert sum("0xtransaction" in line for line in lines) == revenue.NEWEST_ORDERS
    assert f"0xtransaction{ORDERS - 2}" in lines[revenue.NEWEST_ORDERS]
    assert f"the newest {revenue.NEWEST_ORDERS} of {ORDERS} orders" in lines[-3]
    assert sorted(lines[-2:]) == [
        f"base-sepolia: 0.118029 USDC in {ORDERS - 1} orders",
        "base: 1000000000000000000000000 USDC in 1 orders",
    ]


async def test_programs_are_given_every_order(
    parts: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(file=io.StringIO())

    await revenue.Revenue(since_days=1, output="csv").show(parts, console)
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    await revenue.Revenue(since_days=1, output="json").show(parts, console)
    records = json.loads(capsys.readouterr().out)

    assert records == lines
    assert [row["transaction"] for row in records] == [
        f"0xtransaction{number}" for number in range(-1, ORDERS - 1)
    ]


async def test_nothing_earned_is_an_empty_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = await database.Database(f"sqlite+aiosqlite:///{tmp_path}/empty.sqlite3").open()
    nothing: Any = SimpleNamespace(db=db)

    await revenue.Revenue(since_days=1, output="json").show(nothing, Console())
    await db.close()

    assert json.loads(capsys.readouterr().out) == []
