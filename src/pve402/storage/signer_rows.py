"""Account nonces of our own signers and the signed transactions that use them.

A nonce and its signed transaction are stored in one database transaction, so that a crash leaves
either nothing or something that any process can broadcast again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pve402.storage import database, tables, transaction

_nonces = tables.signer_nonces
_sent = tables.signer_transactions
Row = Mapping[Any, Any]


async def next_nonce(tx: transaction.Transaction, chain_id: int, signer: str) -> int | None:
    """Return the nonce after the highest one ever taken, None if none was taken."""
    found: int | None = await tx.scalar(
        sa.select(_nonces.c.next_nonce).where(*_of(_nonces, chain_id, signer))
    )
    return found


async def take(db: database.Database, tx: transaction.Transaction, row: dict[str, Any]) -> bool:
    """Take the nonce of a signed transaction and store it; False if somebody else took it."""
    after = row["nonce"] + 1
    dialect = sqlite if db.is_sqlite else postgresql
    first = dialect.insert(_nonces).values(
        chain_id=row["chain_id"], signer=row["signer"], next_nonce=after
    )
    keys = ["chain_id", "signer"]
    query = first.on_conflict_do_update(
        index_elements=keys,
        set_={"next_nonce": after},
        where=_nonces.c.next_nonce <= row["nonce"],
    )
    if (await tx.execute(query)).rowcount != 1:
        return False
    await tx.execute(_sent.insert().values(**row, created_at=db.now()))
    return True


async def replace(tx: transaction.Transaction, row: dict[str, Any]) -> bool:
    """Store a version of an open transaction with a higher fee; False if its nonce is closed."""
    query = _sent.update().where(
        *_of(_sent, row["chain_id"], row["signer"]), _sent.c.nonce == row["nonce"]
    )
    values = {"transaction": row["transaction"], "raw": row["raw"]}
    return (await tx.execute(query.values(**values))).rowcount == 1


async def withdraw(tx: transaction.Transaction, chain_id: int, signer: str, nonce: int) -> bool:
    """Give the highest nonce back; False if a later one was taken."""
    query = _nonces.update().where(
        *_of(_nonces, chain_id, signer), _nonces.c.next_nonce == nonce + 1
    )
    if (await tx.execute(query.values(next_nonce=nonce))).rowcount != 1:
        return False
    await tx.execute(_sent.delete().where(*_of(_sent, chain_id, signer), _sent.c.nonce == nonce))
    return True


async def confirm(
    tx: transaction.Transaction, chain_id: int, signer: str, below_nonce: int
) -> None:
    """Close every nonce below this one, since the chain has used them."""
    await tx.execute(
        _sent.delete().where(*_of(_sent, chain_id, signer), _sent.c.nonce < below_nonce)
    )


async def list_open(tx: transaction.Transaction, chain_id: int, signer: str) -> Sequence[Row]:
    """Return the open transactions of a signer, lowest nonce first."""
    query = sa.select(_sent).where(*_of(_sent, chain_id, signer)).order_by(_sent.c.nonce)
    return transaction.named(await tx.execute(query))


async def find_open(tx: transaction.Transaction, payment_key: str) -> Row | None:
    """Return the newest open transaction that settles a payment."""
    query = sa.select(_sent).where(_sent.c.payment_key == payment_key)
    newest = query.order_by(_sent.c.nonce.desc()).limit(1)
    return transaction.only(await tx.execute(newest))


def _of(table: sa.Table, chain_id: int, signer: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (table.c.chain_id == chain_id, table.c.signer == signer)
