"""The devnet's contracts: their addresses, interfaces and runtime code.

The Solidity sources are in this folder; `scripts/build-contracts` compiles them to contracts.json,
and `scripts/build-contracts --check` verifies that the two match.
"""

from __future__ import annotations

import enum
import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

USDC_ADDRESS = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
"""Where USDC is on Base Sepolia; every x402 client knows this address for chain 84532."""

MULTICALL_ADDRESS = "0xcA11bde05977b3631167028862bE2a173976CA11"
"""Where Multicall3 is on nearly every chain; facilitators batch their reads through it."""

WALLET_FACTORY_ADDRESS = "0x00000000000000000000000000000000000402fA"
"""Our own choice: the factory that makes contract wallets."""

AWKWARD_FACTORY_ADDRESS = "0x00000000000000000000000000000000000402FB"
"""Our own choice: the factory of contract wallets that make awkward payers."""

MINTER_ADDRESS = "0x00000000000000000000000000000000000402AA"
"""The token's only minter, from DevnetUsdc.sol; nobody knows a key for it."""

PLANTED = {
    USDC_ADDRESS: "DevnetUsdc",
    MULTICALL_ADDRESS: "Multicall",
    WALLET_FACTORY_ADDRESS: "ContractWalletFactory",
    AWKWARD_FACTORY_ADDRESS: "AwkwardWalletFactory",
}
"""The contracts in a devnet chain's first block: address to contract name."""


class Manner(enum.IntEnum):
    """How an AwkwardWallet answers isValidSignature, as AwkwardWallet.sol numbers them."""

    HONEST = 0  # yes to a signature of its owner
    WANTS_GAS = 1  # yes with at least `limit` gas left, as only a question has
    ONLY_TO_NOBODY = 2  # yes when the zero address asks
    ONLY_UNPAID = 3  # yes while the gas price is zero
    BEFORE_BLOCK = 4  # yes in blocks below `limit`
    BEFORE_TIME = 5  # yes before the Unix second `limit`
    BURNS_GAS = 6  # yes, after burning `limit` gas
    LOOPS = 7  # never answers
    FLOODS = 8  # answers with `limit` zero bytes
    REVERTS = 9  # fails without a reason


@dataclass(frozen=True, kw_only=True)
class Contract:
    """One compiled contract. Code with immutables (the wallets) cannot be written directly."""

    name: str
    abi: list[dict[str, Any]]
    runtime_code: bytes


@functools.cache
def load(name: str) -> Contract:
    """Return the compiled contract with that name.

    Raises:
        KeyError: there is no such contract.
    """
    entry = _compiled()[name]
    code = bytes.fromhex(entry["runtimeCode"].removeprefix("0x"))
    return Contract(name=name, abi=entry["abi"], runtime_code=code)


@functools.cache
def _compiled() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("contracts.json").read_text("utf-8")
    compiled: dict[str, Any] = json.loads(text)
    return compiled
