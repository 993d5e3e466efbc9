"""Every account of the chain: balances, nonces, code and storage, and how to undo what changed.

All of it is in one dict, and every write logs the previous value. A failed call is undone by
walking the log backwards. The log also serves as the chain's history: a moment is a position in it.
Data that lasts for one transaction (warm slots, transient storage) is in a second dict, logged in
the same list.
"""

from __future__ import annotations

import functools
from typing import Any

from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.prague.state import PragueState
from eth_typing import Address, Hash32
from eth_utils.crypto import keccak

BALANCE, NONCE, CODE, STORAGE, WARM, TRANSIENT = range(6)

Key = tuple[Any, ...]
Values = dict[Key, Any]
Note = tuple[Values, Key, Any]


class Accounts(PragueState):
    """The state interface of py-evm's interpreter, without the tries of a real node."""

    __slots__ = ("_brief", "_lasting", "_notes", "_originals")

    def __init__(self, lasting: Values | None = None) -> None:
        self.execution_context: ExecutionContext
        self._lasting: Values = {} if lasting is None else lasting
        self._brief: Values = {}
        self._originals: Values = {}
        self._notes: list[Note] = []

    # Moments

    def position(self) -> int:
        """Return the current moment, for `undo` and `copy_at`."""
        return len(self._notes)

    def undo(self, position: int) -> None:
        """Restore the state of that moment."""
        _walk_back(self._notes, position)

    def copy_at(self, position: int) -> Accounts:
        """Return a separate copy of the accounts at that moment, without any history."""
        lasting = dict(self._lasting)
        for values, key, old in reversed(self._notes[position:]):
            if values is self._lasting:
                _put(lasting, key, old)
        return Accounts(lasting)

    def begin(self, context: ExecutionContext) -> None:
        """Start a transaction in that block, with everything cold."""
        self.execution_context = context
        self._brief = {}
        self._originals = {}

    def finish(self, position: int) -> None:
        """Compact the log since that moment to the entries needed to undo all of it."""
        first: dict[Key, Any] = {}
        for values, key, old in self._notes[position:]:
            if values is self._lasting:
                first.setdefault(key, old)
        self._notes[position:] = [(self._lasting, key, old) for key, old in first.items()]

    def snapshot(self) -> tuple[Hash32, Any]:
        """py-evm's name for a moment; it also expects a state root."""
        return Hash32(b""), len(self._notes)

    def revert(self, snapshot: tuple[Hash32, Any]) -> None:
        """Undo a call that failed."""
        _walk_back(self._notes, snapshot[1])

    def commit(self, snapshot: tuple[Hash32, Any]) -> None:
        """A successful call may still be undone with its caller, so the log stays."""

    # Balance, nonce and code

    def get_balance(self, address: Address) -> int:
        """In wei."""
        return int(self._lasting.get((BALANCE, address), 0))

    def set_balance(self, address: Address, balance: int) -> None:
        """In wei."""
        self._write(self._lasting, (BALANCE, address), balance)

    def get_nonce(self, address: Address) -> int:
        """The number of transactions or contracts the account has made."""
        return int(self._lasting.get((NONCE, address), 0))

    def set_nonce(self, address: Address, nonce: int) -> None:
        """Write it directly."""
        self._write(self._lasting, (NONCE, address), nonce)

    def increment_nonce(self, address: Address) -> None:
        """Count one more."""
        self.set_nonce(address, self.get_nonce(address) + 1)

    def get_code(self, address: Address) -> bytes:
        """The stored code; for a delegated account, the marker that names its delegate."""
        return bytes(self._lasting.get((CODE, address), b""))

    def set_code(self, address: Address, code: bytes) -> None:
        """Empty code makes a plain account."""
        self._write(self._lasting, (CODE, address), code)

    def delete_code(self, address: Address) -> None:
        """Make a plain account."""
        self.set_code(address, b"")

    def get_code_hash(self, address: Address) -> Hash32:
        """The Keccak-256 of the code."""
        return _hash_of(self.get_code(address))

    def has_code_or_nonce(self, address: Address) -> bool:
        """Whether a contract cannot be created there."""
        return (CODE, address) in self._lasting or (NONCE, address) in self._lasting

    def account_exists(self, address: Address) -> bool:
        """Empty accounts do not exist (EIP-161)."""
        return self.has_code_or_nonce(address) or (BALANCE, address) in self._lasting

    def account_is_empty(self, address: Address) -> bool:
        """No balance, no nonce, no code."""
        return not self.account_exists(address)

    def touch_account(self, address: Address) -> None:
        """Does nothing: empty accounts are never stored."""

    def delete_account(self, address: Address) -> None:
        """What SELFDESTRUCT does at the end of the creating transaction."""
        self.set_balance(address, 0)
        self.set_nonce(address, 0)
        self.set_code(address, b"")
        self.delete_storage(address)

    # Storage

    def get_storage(self, address: Address, slot: int, from_journal: bool = True) -> int:
        """One word; without the journal, what it was when the transaction began (EIP-2200)."""
        key = (STORAGE, address, slot)
        if not from_journal and key in self._originals:
            return int(self._originals[key])
        return int(self._lasting.get(key, 0))

    def set_storage(self, address: Address, slot: int, value: int) -> None:
        """Write one word."""
        key = (STORAGE, address, slot)
        self._originals.setdefault(key, self._lasting.get(key, 0))
        self._write(self._lasting, key, value)

    def delete_storage(self, address: Address) -> None:
        """Forget every word of a contract."""
        for key in [key for key in self._lasting if key[0] == STORAGE and key[1] == address]:
            self.set_storage(address, key[2], 0)

    # For one transaction

    def is_address_warm(self, address: Address) -> bool:
        """Whether this transaction has touched the account (EIP-2929)."""
        return (WARM, address) in self._brief or address in self.computation_class.get_precompiles()

    def mark_address_warm(self, address: Address) -> None:
        """Mark the account as warm, which makes it cheaper."""
        self._write(self._brief, (WARM, address), True)

    def is_storage_warm(self, address: Address, slot: int) -> bool:
        """Whether this transaction has touched the word (EIP-2929)."""
        return (WARM, address, slot) in self._brief

    def mark_storage_warm(self, address: Address, slot: int) -> None:
        """Mark the word as warm, which makes it cheaper."""
        self._write(self._brief, (WARM, address, slot), True)

    def get_transient_storage(self, address: Address, slot: int) -> bytes:
        """One word that lasts for the transaction (EIP-1153)."""
        return bytes(self._brief.get((TRANSIENT, address, slot), b""))

    def set_transient_storage(self, address: Address, slot: int, value: bytes) -> None:
        """Write one such word."""
        self._write(self._brief, (TRANSIENT, address, slot), value)

    def _write(self, values: Values, key: Key, value: Any) -> None:
        self._notes.append((values, key, values.get(key)))
        _put(values, key, value)


def _put(values: Values, key: Key, value: Any) -> None:
    """Zero and empty values are not stored."""
    if value:
        values[key] = value
    else:
        values.pop(key, None)


def _walk_back(notes: list[Note], position: int) -> None:
    while len(notes) > position:
        _put(*notes.pop())


@functools.lru_cache(maxsize=1024)
def _hash_of(code: bytes) -> Hash32:
    return Hash32(keccak(code))
