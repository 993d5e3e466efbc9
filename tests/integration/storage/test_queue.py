"""Due rows: one worker each, a fence in every update, nothing lost when a worker dies."""

import asyncio
from datetime import UTC, datetime

import pytest

from pve402.domain import lease
from pve402.storage import database, lease_rows, queue, tables

EITHER = [queue.DueRows(tables.orders), queue.DueRows(tables.leases)]


async def test_a_due_row_is_taken_by_one_worker_only(db: database.Database) -> None:
    await add(db, 20)

    taken = await asyncio.gather(*(claim(db, limit=20) for _ in range(5)))

    ids = [row["lease_id"] for rows in taken for row in rows]
    assert len(ids) == 20
    assert len(set(ids)) == 20


async def test_a_row_that_is_not_due_is_left(db: database.Database) -> None:
    await add(db, 1)
    await claim(db, hold_seconds=30)

    assert await claim(db) == []


async def test_the_row_of_a_dead_worker_falls_due_again_with_another_fence(
    db: database.Database,
) -> None:
    await add(db, 1)
    (first,) = await claim(db, hold_seconds=30)
    db.shift_seconds = 31

    (second,) = await claim(db)

    assert second["fence"] != first["fence"]
    assert second["attempts"] == 2
    with pytest.raises(queue.FenceLostError):
        await update(db, first["lease_id"], first["fence"])


async def test_keeping_a_row_moves_its_limit(db: database.Database) -> None:
    await add(db, 1)
    (row,) = await claim(db, hold_seconds=30)
    db.shift_seconds = 20
    async with db.begin() as tx:
        await queue.DueRows(tables.leases).keep(db, tx, [(row["lease_id"], row["fence"])], 30)
    db.shift_seconds = 40

    assert await claim(db) == []


async def test_the_longest_due_come_first(db: database.Database) -> None:
    first, second = await add(db, 2)
    await set_due(db, first, -5)
    await set_due(db, second, -50)

    (taken,) = await claim(db, limit=1)

    assert taken["lease_id"] == second


async def test_the_wait_until_the_next_row_is_told(db: database.Database) -> None:
    async with db.read() as tx:
        nothing = await queue.seconds_until_due(db, tx, EITHER)
    (row_id,) = await add(db, 1)
    await set_due(db, row_id, 100)

    async with db.read() as tx:
        waits = await queue.seconds_until_due(db, tx, EITHER)

    assert nothing == float("inf")
    assert 90 < waits <= 100


async def add(db: database.Database, count: int) -> list[str]:
    made = [new_lease(number) for number in range(count)]
    async with db.begin() as tx:
        for row in made:
            await lease_rows.insert(db, tx, row, due=True)
    return [row.lease_id for row in made]


def new_lease(number: int) -> lease.Lease:
    return lease.Lease(
        lease_id=lease.new_lease_id(),
        status=lease.LeaseStatus.RESERVED,
        node="pve",
        vmid=10_000 + number,
        owner="eip155:84532:0x" + "ab" * 20,
        sku="standard-lxc",
        size=lease.Size(cores=1, memory_mb=512, disk_gb=8),
        hostname="demo",
        template="local:vztmpl/debian.tar.zst",
        rates={},
        created_at=datetime.now(UTC),
    )


async def claim(
    db: database.Database, *, limit: int = 10, hold_seconds: float = 30
) -> list[queue.Row]:
    async with db.begin() as tx:
        return await queue.DueRows(tables.leases).claim(
            db, tx, limit=limit, hold_seconds=hold_seconds
        )


async def update(db: database.Database, row_id: str, fence: str) -> None:
    async with db.begin() as tx:
        await queue.update_fenced(tx, tables.leases, row_id, fence, last_error="written")


async def set_due(db: database.Database, row_id: str, in_seconds: float) -> None:
    async with db.begin() as tx:
        query = tables.leases.update().where(tables.leases.c.lease_id == row_id)
        await tx.execute(query.values(due_at=db.now(in_seconds)))
