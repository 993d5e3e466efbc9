"""The account nonces of our own signer, shared by every process that signs with one key.

An Ethereum account's transactions are numbered without gaps: a nonce used twice loses one
transaction, a nonce skipped holds up all later ones. So a nonce is taken only together with the
signed transaction that uses it, in one atomic claim that another process loses. A crash then
leaves either nothing, or a transaction that anybody can broadcast again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pve402.payments.payment import PaymentKey


@dataclass(frozen=True, kw_only=True, slots=True)
class SignedTransaction:
    """One signed transaction of ours that settles one payment."""

    chain_id: int
    signer: str
    """Lower-case address."""
    nonce: int
    transaction: str
    """Hash with `0x`, known before broadcast."""
    raw: str = field(repr=False)
    """The signed bytes as `0x` hex; anybody who has them can broadcast them."""
    payment: PaymentKey


class SignerNonces(Protocol):
    """The rows per (chain, signer), and per transaction not yet seen in a block."""

    async def next_nonce(self, chain_id: int, signer: str) -> int | None:
        """One more than the highest nonce ever claimed, or None if none was."""
        ...

    async def claim(self, transaction: SignedTransaction) -> bool:
        """Take `transaction.nonce` and store the transaction, in one database transaction.

        False when the nonce was taken by somebody else; then nothing was stored. Durable when
        it returns: the broadcast follows.
        """
        ...

    async def replace(self, transaction: SignedTransaction) -> bool:
        """Store a dearer version of a claimed, unconfirmed transaction with the same nonce.

        False when the nonce is no longer open.
        """
        ...

    async def withdraw(self, transaction: SignedTransaction) -> bool:
        """Give a nonce back whose transaction the node refused, if it is the highest claimed.

        False when later nonces are claimed; then the transaction stays and is broadcast again,
        so that no gap holds up the later ones.
        """
        ...

    async def confirm(self, chain_id: int, signer: str, below_nonce: int) -> None:
        """Close every nonce lower than `below_nonce`: they are in blocks that are final."""
        ...

    async def unconfirmed(self, chain_id: int, signer: str) -> Sequence[SignedTransaction]:
        """The newest version of every open nonce, lowest nonce first."""
        ...

    async def open_for(self, payment: PaymentKey) -> SignedTransaction | None:
        """The newest open transaction that settles this payment, if there is one."""
        ...
