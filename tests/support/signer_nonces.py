"""A signer's nonces without a database."""

from collections.abc import Sequence

from pve402.payments.facilitators.nonces import SignedTransaction
from pve402.payments.payment import PaymentKey


class InMemorySignerNonces:
    """Nonces of one process that forgets them when it ends."""

    def __init__(self) -> None:
        self._next: dict[tuple[int, str], int] = {}
        self._open: dict[tuple[int, str], dict[int, SignedTransaction]] = {}

    async def next_nonce(self, chain_id: int, signer: str) -> int | None:
        """See SignerNonces."""
        return self._next.get((chain_id, signer))

    async def claim(self, transaction: SignedTransaction) -> bool:
        """See SignerNonces."""
        account = (transaction.chain_id, transaction.signer)
        if transaction.nonce < self._next.get(account, 0):
            return False
        self._next[account] = transaction.nonce + 1
        self._store(transaction)
        return True

    async def replace(self, transaction: SignedTransaction) -> bool:
        """See SignerNonces."""
        if transaction.nonce not in self._open_of(transaction):
            return False
        self._store(transaction)
        return True

    async def withdraw(self, transaction: SignedTransaction) -> bool:
        """See SignerNonces."""
        account = (transaction.chain_id, transaction.signer)
        if self._next.get(account) != transaction.nonce + 1:
            return False
        self._next[account] = transaction.nonce
        self._open_of(transaction).pop(transaction.nonce, None)
        return True

    async def confirm(self, chain_id: int, signer: str, below_nonce: int) -> None:
        """See SignerNonces."""
        opened = self._open.get((chain_id, signer), {})
        for nonce in [n for n in opened if n < below_nonce]:
            del opened[nonce]

    async def unconfirmed(self, chain_id: int, signer: str) -> Sequence[SignedTransaction]:
        """See SignerNonces."""
        opened = self._open.get((chain_id, signer), {})
        return [opened[nonce] for nonce in sorted(opened)]

    async def open_for(self, payment: PaymentKey) -> SignedTransaction | None:
        """See SignerNonces."""
        everything = (signed for opened in self._open.values() for signed in opened.values())
        found = [signed for signed in everything if signed.payment == payment]
        return max(found, key=lambda signed: signed.nonce, default=None)

    def _open_of(self, transaction: SignedTransaction) -> dict[int, SignedTransaction]:
        return self._open.setdefault((transaction.chain_id, transaction.signer), {})

    def _store(self, transaction: SignedTransaction) -> None:
        self._open_of(transaction)[transaction.nonce] = transaction
