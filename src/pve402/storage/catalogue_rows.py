"""Versions of the catalogue: the newest is on sale, older ones say what was asked for before."""

import dataclasses
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pve402.storage import database, tables, transaction

_versions = tables.catalogue_versions
MOST_AT_ONCE = 64
"""How many of the newest versions are ever read; changes are rarer than that."""
_KEPT = 500
_HEAD = (_versions.c.version, _versions.c.digest, _versions.c.made_at)
_NEWEST_FIRST = sa.select(*_HEAD).order_by(_versions.c.version.desc()).limit(MOST_AT_ONCE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """A version without its text."""

    version: int
    digest: str  # SHA-256 of the text
    made_at: datetime


async def list_newest(tx: transaction.Transaction) -> list[Head]:
    """Return the newest versions, newest first."""
    found = await tx.execute(_NEWEST_FIRST)
    return [Head(version=number, digest=digest, made_at=made) for number, digest, made in found]


async def text_of(tx: transaction.Transaction, version: int) -> str | None:
    """Return the text of a version; None if there is no such version."""
    query = sa.select(_versions.c.body).where(_versions.c.version == version)
    text: str | None = await tx.scalar(query)
    return text


async def was_published(tx: transaction.Transaction, digest: str) -> bool:
    """Return whether any version has this text."""
    query = sa.select(_versions.c.version).where(_versions.c.digest == digest).limit(1)
    return await tx.scalar(query) is not None


async def publish(
    db: database.Database, tx: transaction.Transaction, *, after: int, digest: str, text: str
) -> bool:
    """Put a new version on sale; return False if somebody else has replaced version `after`."""
    dialect = sqlite if db.is_sqlite else postgresql
    row = {"version": after + 1, "digest": digest, "body": text, "made_at": db.now()}
    query = dialect.insert(_versions).values(**row).on_conflict_do_nothing()
    if (await tx.execute(query)).rowcount != 1:
        return False
    await tx.execute(_versions.delete().where(_versions.c.version <= after - _KEPT))
    return True
