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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Token:
    """What a token allows: everything of one lease, or of a wallet, or a narrower scope of it."""

    token_hash: str = dataclasses.field(repr=False)
    owner: str
    lease_id: str | None
    scope: str  # words separated by spaces; `*` is everything
    primary_of_lease: bool  # the one that is replaced by a newer one
    expires_at: datetime | None
    by_key: bool = False  # the wallet proved itself by a key, which is good on every chain

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
        await tx.run(_REVOKE_PRIMARY, lease_id=token.lease_id, now_ms=db.shift_ms())
    await tx.run(_INSERT, **dataclasses.asdict(token), now_ms=db.shift_ms())


async def revoke(db: database.Database, tx: transaction.Transaction, token_hash: str) -> bool:
    """Revoke one token; False if it was not valid."""
    return (await tx.run(_REVOKE, token_hash=token_hash, now_ms=db.shift_ms())).rowcount == 1


async def revoke_of_lease(
    db: database.Database, tx: transaction.Transaction, lease_id: str
) -> None:
    """Revoke every token of a lease, when it ends."""
    await tx.run(_REVOKE_OF_LEASE, lease_id=lease_id, now_ms=db.shift_ms())


async def use_nonce(
    db: database.Database, tx: transaction.Transaction, nonce: str, expires_at: datetime
) -> bool:
    """Use up the nonce of a wallet challenge; True once only. Forgets those long expired."""
    await tx.execute(_used_nonces.delete().where(_used_nonces.c.expires_at < db.now(-3600)))
    dialect = sqlite if db.is_sqlite else postgresql
    query = dialect.insert(_used_nonces).values(nonce=nonce, expires_at=expires_at)
    return (await tx.execute(query.on_conflict_do_nothing())).rowcount == 1


def _hole(name: str) -> sa.BindParameter[Any]:
    return transaction.hole(name, type_=_tokens.c[name].type)


def _revoking(*which: sa.ColumnElement[bool]) -> transaction.Query:
    valid = _tokens.update().where(*which, _tokens.c.revoked_at.is_(None))
    return valid.values(revoked_at=_NOW)


_NOW = clock.Moment(transaction.hole("now_ms", type_=sa.BigInteger))
_OF_LEASE = _tokens.c.lease_id == _hole("lease_id")
_REVOKE = _revoking(_tokens.c.token_hash == _hole("token_hash"))
_REVOKE_OF_LEASE = _revoking(_OF_LEASE)
_REVOKE_PRIMARY = _revoking(_OF_LEASE, _tokens.c.primary_of_lease)
_FIND = sa.select(_tokens).where(
    _tokens.c.token_hash == _hole("token_hash"),
    _tokens.c.revoked_at.is_(None),
    sa.or_(_tokens.c.expires_at.is_(None), _tokens.c.expires_at > _NOW),
)
_INSERT = _tokens.insert().values(
    created_at=_NOW, **{field.name: _hole(field.name) for field in dataclasses.fields(Token)}
)
