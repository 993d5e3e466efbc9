"""Checks at startup that existing guests carry this installation's name.

A tag with the name identifies our guests. Under another name we would not recognise them: they
would run on after their leases end, and the reconciler would not even report them as strangers.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pve402.storage import database, tables

_facts = tables.facts
_NAME = "instance"
_READ = sa.select(_facts.c.value).where(_facts.c.name == _NAME)
_NONE_STANDS = ~sa.exists().where(tables.leases.c.ended_at.is_(None))


async def other(db: database.Database, name: str) -> str | None:
    """Return the name that existing guests carry if it is not this installation's, else None."""
    query = _READ.where(_facts.c.value != name, ~_NONE_STANDS)
    async with db.read() as tx:
        found: str | None = await tx.scalar(query)
    return found


async def claim(db: database.Database, name: str) -> None:
    """Store this installation's name, unless guests exist under another.

    Safe when several replicas start at once: the first one decides.
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
