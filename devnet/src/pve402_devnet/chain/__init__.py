"""An EVM chain in this process, with JSON-RPC, and with a USDC that can be paid by signature."""

from pve402_devnet.chain.options import ChainOptions
from pve402_devnet.chain.server import SimulatedChain

__all__ = ["ChainOptions", "SimulatedChain"]
