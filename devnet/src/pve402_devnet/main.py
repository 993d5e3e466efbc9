"""`pve402-devnet`: the whole devnet, or one part of it alone."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

PARTS = {
    "pve": "Proxmox VE alone; containers are real shells where wanted",
    "chain": "an EVM chain with USDC alone",
    "facilitator": "an x402 facilitator, on any node or on a chain of its own",
    "terminal": "consoles of a few containers, without the rest of Proxmox VE",
}
"""The parts that start alone; each is `pve402_devnet.PART.__main__`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the devnet, or the part that the first word names; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in PARTS:
        part = importlib.import_module(f"pve402_devnet.{words[0]}.__main__")
        status: int = part.main(words[1:])
        return status
    from pve402_devnet import devnet  # noqa: PLC0415 -- slow to load, and of no use to a part

    lines = [f"  pve402-devnet {name:<12} {what}" for name, what in PARTS.items()]
    return devnet.main(words, "\n".join(["parts, each with a --help of its own:", *lines]))


if __name__ == "__main__":
    sys.exit(main())
