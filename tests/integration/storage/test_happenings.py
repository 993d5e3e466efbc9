"""What happened to leases and orders: kept in order, and bounded."""

import pytest

from pve402.domain import happening
from pve402.storage import database, happening_rows

Kind = happening.Kind


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> int:
    """So many of a kind are kept."""
    monkeypatch.setattr(happening_rows, "MOST_OF_A_KIND", 3)
    return 3


async def test_of_each_kind_the_newest_of_a_lease_are_kept(
    db: database.Database, most: int
) -> None:
    async with db.begin() as tx:
        await happening_rows.add(db, tx, Kind.SUSPENDED, "report 17", lease_id="l1")
        for number in range(most + 2):
            await happening_rows.add(db, tx, Kind.STOP, str(number), lease_id="l1")
            await happening_rows.add(db, tx, Kind.STOP, "of another", lease_id="l2")

    async with db.read() as tx:
        kept = await happening_rows.list_about(tx, ["l1"], [])

    assert [(one.kind, one.detail) for one in kept] == [
        (Kind.SUSPENDED, "report 17"),
        *((Kind.STOP, str(number)) for number in range(2, most + 2)),
    ]


async def test_after_a_year_it_is_forgotten(db: database.Database) -> None:
    async with db.begin() as tx:
        await happening_rows.add(db, tx, Kind.REFUSED, "old", order_id="o1")
    db.shift_seconds += happening_rows.KEPT_SECONDS + 1
    async with db.begin() as tx:
        await happening_rows.add(db, tx, Kind.REFUSED, "x" * 1000, order_id="o1")

    async with db.read() as tx:
        kept = await happening_rows.list_about(tx, [], ["o1"])

    assert [one.detail for one in kept] == ["x" * 500]


async def test_what_is_undone_did_not_happen(db: database.Database) -> None:
    async def undone() -> None:
        async with db.begin() as tx:
            await happening_rows.add(db, tx, Kind.END, lease_id="l1")
            raise RuntimeError("undone")

    with pytest.raises(RuntimeError, match="undone"):
        await undone()

    async with db.read() as tx:
        assert await happening_rows.list_about(tx, ["l1"], []) == []
