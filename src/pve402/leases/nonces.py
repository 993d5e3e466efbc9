"""The two nonce stores that the payments package needs, kept in our tables."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pve402.payments.facilitators.nonces import SignedTransaction
from pve402.payments.protocol import PaymentKey
from pve402.storage import database, signer_rows, token_rows


class StoredChallengeNonces:
    """Remembers used wallet challenges; see payments.wallet.ChallengeNonces."""

    def __init__(self, db: database.Database) -> None:
        self._db = db

    async def consume(self, nonce: str, *, expires_at: datetime) -> bool:
        """Take a nonce; False if it was taken before."""
        async with self._db.begin() as tx:
            return await token_rows.use_nonce(self._db, tx, nonce, expires_at)


class StoredSignerNonces:
    """Keeps account nonces and open transactions; see payments.facilitators.nonces."""

    def __init__(self, db: database.Database) -> None:
        self._db = db

    async def next_nonce(self, chain_id: int, signer: str) -> int | None:
        """Return one more than the highest nonce ever claimed, or None if there is none."""
        async with self._db.read() as tx:
            return await signer_rows.next_nonce(tx, chain_id, signer)

    async def claim(self, transaction: SignedTransaction) -> bool:
        """Take the nonce and store the transaction; False if the nonce was taken."""
        async with self._db.begin() as tx:
            return await signer_rows.take(self._db, tx, _row(transaction))

    async def replace(self, transaction: SignedTransaction) -> bool:
        """Store a version with a higher fee; False if the nonce is closed."""
        async with self._db.begin() as tx:
            return await signer_rows.replace(tx, _row(transaction))

    async def withdraw(self, transaction: SignedTransaction) -> bool:
        """Give the highest nonce back; False if later ones were claimed."""
        async with self._db.begin() as tx:
            return await signer_rows.withdraw(
                tx, transaction.chain_id, transaction.signer, transaction.nonce
            )

    async def confirm(self, chain_id: int, signer: str, below_nonce: int) -> None:
        """Close every nonce that the chain has already used."""
        async with self._db.begin() as tx:
            await signer_rows.confirm(tx, chain_id, signer, below_nonce)

    async def unconfirmed(self, chain_id: int, signer: str) -> Sequence[SignedTransaction]:
        """Return the newest version of every open nonce, lowest first."""
        async with self._db.read() as tx:
            rows = await signer_rows.list_open(tx, chain_id, signer)
        return [_transaction(row) for row in rows]

    async def open_for(self, payment: PaymentKey) -> SignedTransaction | None:
        """Return the newest open transaction that settles a payment."""
        async with self._db.read() as tx:
            row = await signer_rows.find_open(tx, "|".join(payment))
        return None if row is None else _transaction(row)


def _row(transaction: SignedTransaction) -> dict[str, Any]:
    names = [field.name for field in dataclasses.fields(transaction) if field.name != "payment"]
    row = {name: getattr(transaction, name) for name in names}
    return {**row, "payment_key": "|".join(transaction.payment)}


def _transaction(row: signer_rows.Row) -> SignedTransaction:
    return SignedTransaction(
        chain_id=row["chain_id"],
        signer=row["signer"],
        nonce=row["nonce"],
        transaction=row["transaction"],
        raw=row["raw"],
        payment=PaymentKey(*row["payment_key"].split("|")),
    )
