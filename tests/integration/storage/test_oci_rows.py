"""The rows of OCI images' files, on both kinds of database."""

import asyncio

import pytest
from tests.support.waiting import until_somebody_waits

from pve402.domain import oci_files
from pve402.storage import database, oci_rows, queue

VOLUME = "local:vztmpl/oci-box_1-0123456789ab.tar"
REFERENCE = "docker.io/library/box:1"
State = oci_files.State


async def _want(db: database.Database, *nodes: str) -> None:
    async with db.begin() as tx:
        for node in nodes:
            await oci_rows.want(db, tx, node, VOLUME, REFERENCE)


async def _all(db: database.Database) -> list[oci_files.OciFile]:
    async with db.read() as tx:
        return await oci_rows.list_all(tx)


async def _taken(db: database.Database, limit: int = 1) -> list[oci_files.OciFile]:
    async with db.single() as tx:
        found = await oci_rows.DUE.claim(db, tx, limit=limit, hold_seconds=60)
    return [oci_files.OciFile.from_row(row) for row in found]


@pytest.mark.parametrize("kind", [pytest.param("postgresql", marks=pytest.mark.postgres)])
async def test_two_replicas_may_want_one_file_at_once(db: database.Database) -> None:
    async with db.begin() as tx:
        await oci_rows.want(db, tx, "pve", VOLUME, REFERENCE)
        other = asyncio.ensure_future(_want(db, "pve", "two"))
        await until_somebody_waits(tx)
    await other

    assert [row.node for row in await _all(db)] == ["pve", "two"]


async def test_a_file_that_is_wanted_again_stays_as_it_is(db: database.Database) -> None:
    await _want(db, "pve")
    (taken,) = await _taken(db)

    await _want(db, "pve")

    assert await _all(db) == [taken]


async def test_a_file_has_one_worker(db: database.Database) -> None:
    await _want(db, "pve")

    (taken,) = await _taken(db)

    assert await _taken(db) == []
    async with db.single() as tx:
        await oci_rows.DUE.postpone(db, tx, (taken.file_id, taken.fence or ""), 60, "x" * 600)
    (row,) = await _all(db)
    assert (row.fence, len(row.last_error or "")) == (None, 500)


async def test_a_file_in_work_is_not_looked_at_again(db: database.Database) -> None:
    await _want(db, "pve", "two")
    (held,) = await _taken(db)
    (free,) = [row for row in await _all(db) if row.fence is None]

    async with db.begin() as tx:
        is_due = [await oci_rows.look_again(db, tx, row) for row in (held, free)]

    assert is_due == [False, True]


async def test_trying_again_takes_a_row_from_its_worker_but_no_pull(db: database.Database) -> None:
    await _want(db, "pve", "two")
    pulling, held = await _taken(db, limit=2)
    async with db.single() as tx:
        pulling = await oci_rows.write(tx, pulling, state=State.PULLING, asked_at=db.now())

    async with db.begin() as tx:
        assert await oci_rows.try_again(db, tx, VOLUME) == 1

    with pytest.raises(queue.FenceLostError):
        async with db.single() as tx:
            await oci_rows.write(tx, held, verdict="passed")
    assert pulling in await _all(db)


async def test_a_node_waits_for_the_pull_of_another_but_not_for_ever(
    db: database.Database,
) -> None:
    await _want(db, "pve", "two")
    pulling, waiting = await _taken(db, limit=2)
    longest_seconds = oci_files.LONGEST_PULL.total_seconds()
    async with db.single() as tx:
        await oci_rows.write(tx, pulling, state=State.PULLING, asked_at=db.now())

    async with db.read() as tx:
        waits = await oci_rows.is_pulled_elsewhere(db, tx, waiting)
        own = await oci_rows.is_pulled_elsewhere(db, tx, pulling)
    async with db.single() as tx:
        await oci_rows.write(tx, pulling, asked_at=db.now(-1 - longest_seconds))
    async with db.read() as tx:
        later = await oci_rows.is_pulled_elsewhere(db, tx, waiting)

    assert (waits, own, later) == (True, False, False)


async def test_a_forgotten_file_is_lost_to_its_worker(db: database.Database) -> None:
    await _want(db, "pve")
    (held,) = await _taken(db)

    async with db.begin() as tx:
        await oci_rows.forget(tx, [held.file_id])

    async with db.read() as tx:
        assert not await oci_rows.has_any(tx)
    with pytest.raises(queue.FenceLostError):
        async with db.single() as tx:
            await oci_rows.write(tx, held, state=State.TRYING)
