"""The account nonces of our own signer, shared by every process that signs with one key.

An Ethereum account numbers its transactions without gaps: using a nonce twice loses one
transaction, skipping one blocks all later ones. So we store a nonce only together with the signed
transaction that uses it, in one atomic claim that only one process can win. A crash then leaves
either nothing, or a transaction that any process can broadcast again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pve402.payments.payment import PaymentKey


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedTransaction:
    """A signed transaction of ours that settles one payment."""

    chain_id: int
    signer: str
    """Lower-case address."""
    nonce: int
    transaction: str
    """Hash with `0x`, known before broadcast."""
    raw: str = field(repr=False)
    """The signed bytes as `0x` hex; anyone who has them can broadcast them."""
    payment: PaymentKey


class SignerNonces(Protocol):
    """Stores nonces per (chain, signer), and the transactions not yet seen in a block."""

    async def next_nonce(self, chain_id: int, signer: str) -> int | None:
        """Return one more than the highest nonce ever claimed, or None if there is none."""
        ...

    async def claim(self, transaction: SignedTransaction) -> bool:
        """Claim `transaction.nonce` and store the transaction, in one database transaction.

        Returns False and stores nothing if the nonce was already taken. The claim must be durable
        on return, because the broadcast follows.
        """
        ...

    async def replace(self, transaction: SignedTransaction) -> bool:
        """Store a version of an unconfirmed transaction with the same nonce and a higher fee.

        Returns False if the nonce is no longer open.
        """
        ...

    async def withdraw(self, transaction: SignedTransaction) -> bool:
        """Release the nonce of a transaction that the node refused, if it is the highest one.

        Returns False if later nonces are claimed; the transaction then stays and is broadcast
        again, so that no gap blocks the later ones.
        """
        ...

    async def confirm(self, chain_id: int, signer: str, below_nonce: int) -> None:
        """Close all nonces below `below_nonce`: their transactions are in final blocks."""
        ...

    async def unconfirmed(self, chain_id: int, signer: str) -> Sequence[SignedTransaction]:
        """Return the newest version of every open nonce, lowest nonce first."""
        ...

    async def open_for(self, payment: PaymentKey) -> SignedTransaction | None:
        """Return the newest open transaction that settles this payment, if there is one."""
        ...
