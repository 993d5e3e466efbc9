"""Signed transactions of plain accounts, ready to be broadcast."""

from __future__ import annotations

from typing import Any

from eth_account.signers.local import LocalAccount

GWEI = 10**9
PAYEE = "0x" + "11" * 20


def raw(account: LocalAccount, **fields: Any) -> str:
    """A transfer of one wei with nonce 0, as EIP-1559 unless other fields are given."""
    transaction: dict[str, Any] = {
        "nonce": 0,
        "to": PAYEE,
        "value": 1,
        "gas": 21_000,
        "chainId": 84532,
        "maxFeePerGas": 2 * GWEI,
        "maxPriorityFeePerGas": GWEI,
    }
    transaction |= fields
    if "gasPrice" in transaction:
        del transaction["maxFeePerGas"], transaction["maxPriorityFeePerGas"]
    given = {name: value for name, value in transaction.items() if value is not None}
    return "0x" + bytes(account.sign_transaction(given).raw_transaction).hex()
