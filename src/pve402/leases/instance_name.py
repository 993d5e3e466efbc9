"""Tells, before work is taken up, whether guests that stand carry this installation's name.

Guests are known by a tag with the name. Under another name they would be nobody's: they would run
on after their leases' end, and nothing would report them, for they are not even strangers then.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pve402.storage import database, tables, transaction

_facts, _leases = tables.facts, tables.leases
_NAME = "instance"
_READ = sa.select(_facts.c.value).where(_facts.c.name == _NAME)
_NONE_STANDS = ~sa.exists().where(_leases.c.ended_at.is_(None))


async def read(db: database.Database) -> str | None:
    """Return the name that guests which stand were marked with; None if none was ever written."""
    async with db.read() as tx:
        return await _read(tx)


async def claim(db: database.Database, name: str) -> str:
    """Write this installation's name unless guests stand under another; return the one that holds.

    Replicas that start together agree, whichever is first.
    """
    if await read(db) == name:
        return name
    dialect = sqlite if db.is_sqlite else postgresql
    first = dialect.insert(_facts).values(name=_NAME, value=name).on_conflict_do_nothing()
    other = _facts.update().where(_facts.c.name == _NAME, _NONE_STANDS).values(value=name)
    async with db.begin() as tx:
        await tx.execute(first)
        await tx.execute(other)
        return await _read(tx) or name


async def _read(tx: transaction.Transaction) -> str | None:
    found: str | None = await tx.scalar(_READ)
    return found
