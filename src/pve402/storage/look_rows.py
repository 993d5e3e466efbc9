"""When a replica last looked at the figures of guests: one row among the facts."""

from datetime import UTC, datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pve402.storage import database, tables, transaction

_facts = tables.facts
_NAME: Final = "figures_looked_at"
_LAST: Final = sa.select(_facts.c.value).where(_facts.c.name == _NAME)


async def note(
    db: database.Database, tx: transaction.Transaction, now: datetime
) -> datetime | None:
    """Write down a look, and return when the one before was; None if this is the first."""
    last = await tx.scalar(_LAST)
    dialect = sqlite if db.is_sqlite else postgresql
    written = dialect.insert(_facts).values(name=_NAME, value=str(int(now.timestamp() * 1000)))
    changed = {"value": written.excluded.value}
    await tx.execute(written.on_conflict_do_update(index_elements=["name"], set_=changed))
    return None if last is None else datetime.fromtimestamp(int(last) / 1000, UTC)
