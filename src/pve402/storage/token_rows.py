"""Lease and wallet tokens, stored as hashes, and the nonces of wallet challenges."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pve402.storage import clock, database, tables, transaction

_tokens = tables.tokens
_used_nonces = tables.used_nonces
_MOST_OF_ONE = 100
_KNOWN_SECONDS = 7 * 24 * 3600
_MOST_AT_ONCE = 20  # more than are inserted in the meantime, yet quick to delete


@dataclasses.dataclass(frozen=True, kw_only=True)
class Token:
    """What a token allows: everything for one lease or one wallet, or a narrower scope."""

    token_hash: str = dataclasses.field(repr=False)
    owner: str
    lease_id: str | None
    scope: str  # words separated by spaces; `*` is everything
    primary_of_lease: bool  # a newer one replaces it
    expires_at: datetime | None
    by_key: bool = False  # the wallet signed with a key, which is valid on every chain

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Build the value from one row."""
        return cls(**{field.name: row[field.name] for field in dataclasses.fields(cls)})


async def find(db: database.Database, tx: transaction.Transaction, token_hash: str) -> Token | None:
    """Return a token that is neither revoked nor expired."""
    found = await tx.run(_FIND, token_hash=token_hash, now_ms=db.shift_ms())
    row = transaction.only(found)
    return None if row is None else Token.from_row(row)


async def insert(db: database.Database, tx: transaction.Transaction, token: Token) -> None:
    """Write a token; the primary one of a lease revokes its predecessor."""
    if token.primary_of_lease:
        await tx.run(_REVOKE_PRIMARY, lease_id=token.lease_id)
    await tx.run(_INSERT, **dataclasses.asdict(token), now_ms=db.shift_ms())


async def make_room(
    db: database.Database, tx: transaction.Transaction, *, owner: str, lease_id: str | None
) -> None:
    """Make room for one more free token of a wallet or a lease.

    Deletes expired tokens of any owner, and revokes the oldest tokens of the wallet or the lease
    beyond 100; the lease's primary token stays.
    """
    await tx.run(_DELETE_EXPIRED, now_ms=db.shift_ms())
    if lease_id is None:
        await tx.run(_MAKE_ROOM_OF_WALLET, owner=owner, now_ms=db.shift_ms())
    else:
        await tx.run(_MAKE_ROOM_OF_LEASE, lease_id=lease_id, now_ms=db.shift_ms())


async def revoke(db: database.Database, tx: transaction.Transaction, token_hash: str) -> bool:
    """Revoke one token; False if it was not valid."""
    return (await tx.run(_REVOKE, token_hash=token_hash, now_ms=db.shift_ms())).rowcount == 1


async def revoke_of_lease(
    db: database.Database, tx: transaction.Transaction, lease_id: str
) -> None:
    """Revoke every token of a lease when it ends; they are remembered for a week."""
    kept_ms = db.shift_ms(_KNOWN_SECONDS)
    await tx.run(_REVOKE_OF_LEASE, lease_id=lease_id, now_ms=db.shift_ms(), later_ms=kept_ms)


async def was_of_lease(db: database.Database, tx: transaction.Transaction, token_hash: str) -> bool:
    """Return whether a token was valid until its lease ended within the last week."""
    found = await tx.run(_WAS_OF_LEASE, token_hash=token_hash, now_ms=db.shift_ms())
    return transaction.only(found) is not None


async def use_nonce(
    db: database.Database, tx: transaction.Transaction, nonce: str, expires_at: datetime
) -> bool:
    """Use up the nonce of a wallet challenge; True only once. Deletes long-expired nonces."""
    await tx.execute(_used_nonces.delete().where(_used_nonces.c.expires_at < db.now(-3600)))
    dialect = sqlite if db.is_sqlite else postgresql
    query = dialect.insert(_used_nonces).values(nonce=nonce, expires_at=expires_at)
    return (await tx.execute(query.on_conflict_do_nothing())).rowcount == 1


def _hole(name: str) -> sa.BindParameter[Any]:
    return transaction.hole(name, type_=_tokens.c[name].type)


def _all_but_newest(which: sa.ColumnElement[bool]) -> transaction.Query:
    found = (
        sa.select(_tokens.c.token_hash).where(which, _VALID).order_by(_tokens.c.created_at.desc())
    )
    return _tokens.delete().where(_tokens.c.token_hash.in_(found.offset(_MOST_OF_ONE - 1)))


_NOW = clock.Moment(transaction.hole("now_ms", type_=sa.BigInteger))
_VALID = sa.and_(
    _tokens.c.revoked_at.is_(None),  # earlier versions kept revoked tokens
    sa.or_(_tokens.c.expires_at.is_(None), _tokens.c.expires_at > _NOW),
)
_OF_LEASE = _tokens.c.lease_id == _hole("lease_id")
_IS_IT = _tokens.c.token_hash == _hole("token_hash")
_FIND = sa.select(_tokens).where(_IS_IT, _VALID)
_REVOKE = _tokens.delete().where(_IS_IT, _VALID)
_REVOKE_OF_LEASE = (
    _tokens.update()
    .where(_OF_LEASE, _VALID)
    .values(
        revoked_at=_NOW, expires_at=clock.Moment(transaction.hole("later_ms", type_=sa.BigInteger))
    )
)
_WAS_OF_LEASE = sa.select(_tokens.c.token_hash).where(
    _IS_IT, _tokens.c.revoked_at.isnot(None), _tokens.c.expires_at > _NOW
)
_REVOKE_PRIMARY = _tokens.delete().where(_OF_LEASE, _tokens.c.primary_of_lease)
_MAKE_ROOM_OF_LEASE = _all_but_newest(sa.and_(_OF_LEASE, sa.not_(_tokens.c.primary_of_lease)))
_MAKE_ROOM_OF_WALLET = _all_but_newest(
    sa.and_(_tokens.c.owner == _hole("owner"), _tokens.c.lease_id.is_(None))
)
_DELETE_EXPIRED = _tokens.delete().where(
    _tokens.c.token_hash.in_(
        sa.select(_tokens.c.token_hash)
        .where(_tokens.c.expires_at <= _NOW)
        .order_by(_tokens.c.expires_at)
        .limit(_MOST_AT_ONCE)
        .with_for_update(skip_locked=True)  # two concurrent deletes take different rows
    )
)
_INSERT = _tokens.insert().values(
    created_at=_NOW, **{field.name: _hole(field.name) for field in dataclasses.fields(Token)}
)
