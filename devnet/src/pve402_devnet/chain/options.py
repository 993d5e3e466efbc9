"""How a simulated chain behaves."""

from __future__ import annotations

from dataclasses import dataclass

BASE_SEPOLIA = 84532


@dataclass(frozen=True, kw_only=True)
class ChainOptions:
    """How a chain behaves.

    `automine` puts a transaction into a block at once; `block_interval_seconds` makes blocks by
    the clock as well (or only so, without automine), empty ones included, so that chain time
    goes on; None makes none. `base_fee` is in wei per gas and stays as it is.
    """

    chain_id: int = BASE_SEPOLIA
    host: str = "127.0.0.1"
    port: int = 0
    automine: bool = True
    block_interval_seconds: float | None = None
    base_fee: int = 10_000_000
    priority_fee: int = 1_000_000
