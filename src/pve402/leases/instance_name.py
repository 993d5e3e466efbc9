"""Tells, before work is taken up, whether guests that stand carry this installation's name.

Guests are known by a tag with the name. Under another name they would be nobody's: they would run
on after their leases' end, and nothing would report them, for they are not even strangers then.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pve402.storage import database, tables

_facts = tables.facts
_NAME = "instance"
_READ = sa.select(_facts.c.value).where(_facts.c.name == _NAME)
_NONE_STANDS = ~sa.exists().where(tables.leases.c.ended_at.is_(None))


async def other(db: database.Database, name: str) -> str | None:
    """Return the name that guests stand under if that is not this installation's, else None."""
    query = _READ.where(_facts.c.value != name, ~_NONE_STANDS)
    async with db.read() as tx:
        found: str | None = await tx.scalar(query)
    return found


async def claim(db: database.Database, name: str) -> None:
    """Write this installation's name, unless guests stand under another.

    Replicas that start together agree, whichever is first.
    """
    async with db.read() as tx:
        if await tx.scalar(_READ) == name:
            return
    dialect = sqlite if db.is_sqlite else postgresql
    first = dialect.insert(_facts).values(name=_NAME, value=name).on_conflict_do_nothing()
    change = _facts.update().where(_facts.c.name == _NAME, _NONE_STANDS).values(value=name)
    async with db.begin() as tx:
        await tx.execute(first)
        await tx.execute(change)
