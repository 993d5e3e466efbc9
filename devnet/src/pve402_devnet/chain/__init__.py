"""An in-process EVM chain with JSON-RPC and a USDC that accepts signed transfers."""

from pve402_devnet.chain.options import ChainOptions
from pve402_devnet.chain.server import SimulatedChain

__all__ = ["ChainOptions", "SimulatedChain"]
