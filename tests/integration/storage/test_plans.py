"""Frequent queries read current rows only, not the whole history."""

import re
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.dialects.sqlite import pysqlite
from tests.integration.storage.test_queue import new_lease

from pve402.leases import key_check
from pve402.storage import database, lease_rows, order_rows, queue, tables, token_rows, vmid_rows

OVER = 3000
SQLITE = pysqlite.dialect()
POSTGRES = asyncpg.dialect()  # type: ignore[no-untyped-call]
INDEXES: list[tuple[Any, str]] = [
    (lease_rows._LIST_STANDING, "_standing"),
    (lease_rows._LIST_PROMISES, "leases_standing"),
    (lease_rows._LIST_OF_OWNERS, "leases_owner_standing"),
    (lease_rows._LIST_WARM_POOL, "leases_owner_standing"),
    (lease_rows._LIST_NEWEST_OF_OWNERS, "leases_owner"),
    (vmid_rows._NEWEST, "vmids_newest"),
    (vmid_rows._FORGET_RESTED, "vmids_resting"),
    (order_rows._COUNT_UNSETTLED, "orders_due"),
    (order_rows._LOOK_BACK, "orders_refused"),
    (queue._earliest((tables.orders,)), "orders_due"),
    (queue._earliest((tables.leases,)), "leases_due"),
    (queue._claiming(tables.orders), "orders_due"),
    (queue._claiming(tables.leases), "leases_due"),
    (key_check.NEWEST, "orders_due"),
    (token_rows._DELETE_EXPIRED, "tokens_expiry"),
    (token_rows._MAKE_ROOM_OF_WALLET, "tokens_wallet"),
    (token_rows._MAKE_ROOM_OF_LEASE, "tokens_lease"),
]

READ_WHOLE = {"_standing", "leases_standing", "vmids_newest"}  # they hold no more than is asked for


@pytest.fixture
async def full(db: database.Database) -> database.Database:
    """A database with thousands of orders and leases that are over, and one that is not."""
    rows = [
        {
            "lease_id": f"l{n:025d}",
            "status": "ended",
            "node": "pve",
            "vmid": 100 + n,
            "owner": "eip155:1:0x1",
            "sku": "standard-lxc",
            "hostname": "h",
            "template": "t",
            "cores": 1,
            "memory_mb": 512,
            "disk_gb": 8,
            "rates": {},
            "metadata": {},
            "created_at": new_lease(1).created_at,
            "ended_at": new_lease(1).created_at,
            "attempts": 0,
            "restarts": 0,
        }
        for n in range(OVER)
    ]
    paid = [
        {
            "order_id": f"o{n:025d}",
            "kind": "creation",
            "status": "closed",
            "lease_id": f"l{n:025d}",
            "network": "eip155:84532",
            "asset": "0x2",
            "payer": "0x1",
            "nonce": f"0x{n}",
            "pay_to": "0x3",
            "amount_atomic": 1000,
            "valid_before": new_lease(1).created_at,
            "minutes": 60,
            "request_hash": "h",
            "created_at": new_lease(1).created_at,
            "final": True,
            "attempts": 0,
        }
        for n in range(OVER)
    ]
    tokens = [
        {
            "token_hash": f"t{n}",
            "owner": f"eip155:1:0x{n}",
            "lease_id": f"l{n:025d}" if n % 2 else None,
            "scope": "*",
            "primary_of_lease": False,
            "by_key": True,
            "created_at": new_lease(1).created_at,
            "expires_at": new_lease(1).created_at,
        }
        for n in range(OVER)
    ]
    reserved = {"reserved_at": new_lease(1).created_at, "lease_id": "lease", "free_at": None}
    async with db.begin() as tx:
        await tx.execute(tables.leases.insert(), rows)
        await tx.execute(tables.orders.insert(), paid)
        await tx.execute(tables.tokens.insert(), tokens)
        await tx.execute(tables.vmids.insert(), [{"vmid": n, **reserved} for n in range(OVER)])
        await lease_rows.insert(db, tx, new_lease(1), due=False)
        await tx.execute(sa.text("ANALYZE"))
    return db


async def test_indexes_answer(full: database.Database) -> None:
    explain = "EXPLAIN QUERY PLAN" if full.is_sqlite else "EXPLAIN"
    dialect = SQLITE if full.is_sqlite else POSTGRES
    for query, index in INDEXES:
        async with full.read() as tx:
            plan = str((await tx.execute(sa.text(f"{explain} {_literal(query, dialect)}"))).all())

        assert index in plan, query
        if full.is_sqlite and index not in READ_WHOLE:
            scanned = set(re.findall(r"SCAN (\w+)", plan))
            assert scanned.isdisjoint(tables.metadata.tables), query


async def test_only_standing_leases_are_listed(full: database.Database) -> None:
    async with full.read() as tx:
        standing = await lease_rows.list_standing(tx)
        promises = await lease_rows.list_promises(tx)

    assert [row.vmid for row in standing] == [10_001]
    assert len(promises) == 1


def _literal(query: Any, dialect: sa.Dialect) -> str:
    """The text with values written into it, which holes of a plan do not allow; 0 fills a hole."""
    compiled = query.compile(dialect=dialect)
    empty = {name: [0] if bind.expanding else 0 for name, bind in compiled.binds.items()}
    given = {name: value for name, value in compiled.params.items() if value is not None}
    state = compiled.construct_expanded_state({**empty, **given})
    sql = str(state.statement)
    for position, name in enumerate(state.positiontup or (), 1):
        value = state.parameters[name] or 0
        shown = f"'{value}'" if isinstance(value, str) else str(value)
        sql = sql.replace("?", shown, 1).replace(f"${position}:", f"{shown}:")
    return sql.replace(":", r"\:")
