"""Transactions that wait for a block, and the rules for accepting them.

The texts are those of the nodes that serve Base (geth and its kin): clients and facilitators
distinguish the cases by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pve402_devnet.chain import gas
from pve402_devnet.chain.transactions import Transaction

MAX_WAITING = 8192
REPLACEMENT_PERCENT = 110


class Rejected(ValueError):
    """The pool refuses the transaction; the text is a node's."""


@dataclass(frozen=True, kw_only=True)
class AccountView:
    """What the pool needs to know about a sender; the balance is in wei."""

    nonce: int
    balance: int


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The limits for every transaction of this chain; fees in wei per gas."""

    chain_id: int
    base_fee: int
    block_gas_limit: int


class Mempool:
    """Waiting transactions by sender and nonce. Not safe across threads."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._waiting: dict[str, dict[int, Transaction]] = {}
        self._by_hash: dict[bytes, Transaction] = {}

    def __len__(self) -> int:
        return len(self._by_hash)

    def get(self, transaction_hash: bytes) -> Transaction | None:
        """A waiting transaction."""
        return self._by_hash.get(transaction_hash)

    def add(self, transaction: Transaction, sender: AccountView) -> None:
        """Accept a transaction; it replaces one with the same nonce if it pays a tenth more.

        Raises:
            Rejected: with a node's reason.
        """
        self._check(transaction, sender)
        rival = self._waiting.get(transaction.sender, {}).get(transaction.nonce)
        if rival is None and len(self) >= MAX_WAITING:
            raise Rejected("txpool is full")
        if rival is not None:
            if not _outbids(transaction, rival):
                raise Rejected("replacement transaction underpriced")
            self.drop(rival.hash)
        self._by_hash[transaction.hash] = transaction
        self._waiting.setdefault(transaction.sender, {})[transaction.nonce] = transaction

    def drop(self, transaction_hash: bytes) -> bool:
        """Drop a waiting transaction; false if there is none."""
        transaction = self._by_hash.pop(transaction_hash, None)
        if transaction is None:
            return False
        waiting = self._waiting[transaction.sender]
        del waiting[transaction.nonce]
        if not waiting:
            del self._waiting[transaction.sender]
        return True

    def clear(self) -> None:
        """Forget everything."""
        self._by_hash.clear()
        self._waiting.clear()

    def next_nonce(self, sender: str, nonce: int) -> int:
        """Return the nonce after the sender's consecutive waiting transactions."""
        waiting = self._waiting.get(sender, {})
        while nonce in waiting:
            nonce += 1
        return nonce

    def executable(self, nonce_of: Callable[[str], int]) -> Iterator[Transaction]:
        """Remove and return, in order of arrival, every transaction that can run now."""
        progress = True
        while progress:
            progress = False
            for transaction in list(self._by_hash.values()):
                if transaction.nonce == nonce_of(transaction.sender):
                    self.drop(transaction.hash)
                    progress = True
                    yield transaction

    def _check(self, transaction: Transaction, sender: AccountView) -> None:
        if transaction.hash in self._by_hash:
            raise Rejected("already known")
        if transaction.chain_id not in (None, self._rules.chain_id):
            raise Rejected("invalid chain id for signer")
        if transaction.nonce < sender.nonce:
            detail = f"next nonce {sender.nonce}, tx nonce {transaction.nonce}"
            raise Rejected(f"nonce too low: {detail}")
        self._check_gas(transaction)
        cost = transaction.gas_limit * transaction.max_fee_per_gas + transaction.value
        if cost > sender.balance:
            detail = f"balance {sender.balance}, tx cost {cost}"
            raise Rejected(f"insufficient funds for gas * price + value: {detail}")

    def _check_gas(self, transaction: Transaction) -> None:
        if transaction.gas_limit > self._rules.block_gas_limit:
            raise Rejected("exceeds block gas limit")
        if transaction.gas_limit < least_gas(transaction):
            raise Rejected("intrinsic gas too low")
        if transaction.max_priority_fee_per_gas > transaction.max_fee_per_gas:
            raise Rejected("max priority fee per gas higher than max fee per gas")
        if transaction.max_fee_per_gas < self._rules.base_fee:
            raise Rejected("max fee per gas less than block base fee")


def least_gas(transaction: Transaction) -> int:
    """Return the gas that a transaction needs to be accepted."""
    data = transaction.data
    intrinsic = gas.intrinsic(
        data,
        creates=transaction.to is None,
        access_list=transaction.access_list,
        authorizations=len(transaction.authorizations),
    )
    return max(intrinsic, gas.floor(data))


def _outbids(new: Transaction, old: Transaction) -> bool:
    return (
        new.max_fee_per_gas * 100 >= old.max_fee_per_gas * REPLACEMENT_PERCENT
        and new.max_priority_fee_per_gas * 100 >= old.max_priority_fee_per_gas * REPLACEMENT_PERCENT
    )
