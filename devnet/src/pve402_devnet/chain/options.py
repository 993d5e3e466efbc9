"""How a simulated chain behaves."""

from __future__ import annotations

from dataclasses import dataclass

BASE_SEPOLIA = 84532


@dataclass(frozen=True, kw_only=True)
class ChainOptions:
    """How a chain behaves.

    `automine` mines each transaction at once; `block_interval_seconds` also makes blocks by the
    clock (without automine, only then), even empty ones, so that chain time advances; None makes
    none. `base_fee` is in wei per gas and never changes.
    """

    chain_id: int = BASE_SEPOLIA
    host: str = "127.0.0.1"
    port: int = 0
    automine: bool = True
    block_interval_seconds: float | None = None
    base_fee: int = 10_000_000
    priority_fee: int = 1_000_000
