"""The devnet's contracts: where each one is planted, its interface and its runtime code.

The Solidity sources lie beside this file; `scripts/build-contracts` compiles them to
contracts.json, and `scripts/build-contracts --check` proves that the two belong together.
"""

from __future__ import annotations

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

MINTER_ADDRESS = "0x00000000000000000000000000000000000402AA"
"""The token's only minter, as DevnetUsdc.sol names it; nobody knows a key for it."""

PLANTED = {
    USDC_ADDRESS: "DevnetUsdc",
    MULTICALL_ADDRESS: "Multicall",
    WALLET_FACTORY_ADDRESS: "ContractWalletFactory",
}
"""What a devnet chain carries from its first block: address to contract name."""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """One compiled contract. Code with immutable values (ContractWallet) cannot be planted."""

    name: str
    abi: list[dict[str, Any]]
    runtime_code: bytes


@functools.cache
def load(name: str) -> Contract:
    """The compiled contract of that name.

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
