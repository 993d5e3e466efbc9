"""How many requests each party made in the present minute, over all replicas."""

from collections.abc import Mapping

from sqlalchemy.dialects import postgresql, sqlite

from pve402.storage import database, tables, transaction

_counts = tables.request_counts


async def add(
    db: database.Database, tx: transaction.Transaction, minute: int, more: Mapping[str, int]
) -> dict[str, int]:
    """Add requests of a minute, by party; return what each has made in it."""
    dialect = sqlite if db.is_sqlite else postgresql
    # In one order, so that two replicas do not wait for each other.
    rows = [{"minute": minute, "party": party, "count": more[party]} for party in sorted(more)]
    query = dialect.insert(_counts).values(rows)
    adding = query.on_conflict_do_update(
        index_elements=[_counts.c.minute, _counts.c.party],
        set_={"count": _counts.c.count + query.excluded.count},
    )
    found = await tx.execute(adding.returning(_counts.c.party, _counts.c.count))
    return {str(party): int(count) for party, count in found}


async def forget(tx: transaction.Transaction, before_minute: int) -> None:
    """Delete the counts of minutes that are over."""
    await tx.execute(_counts.delete().where(_counts.c.minute < before_minute))
