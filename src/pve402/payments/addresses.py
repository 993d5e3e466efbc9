"""EVM addresses and the hash behind them.

Inside the program, an address is `0x` and forty lower-case hex digits. Answers use the mixed-case
form of EIP-55, which lets clients detect typing errors.
"""

import functools
import re
from typing import Final

from eth_hash.auto import keccak as keccak256

__all__ = ["ADDRESS", "checksum", "keccak256", "normalize", "of_public_key"]

ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


def normalize(address: str) -> str:
    """Return the lower-case form of an address.

    Raises:
        ValueError: not `0x` and forty hex digits. The message does not repeat the input.
    """
    if not ADDRESS.fullmatch(address):
        raise ValueError("an EVM address is 0x and forty hex digits")
    return address.lower()


@functools.lru_cache(maxsize=4096)
def checksum(address: str) -> str:
    """Return the EIP-55 form of an address: upper-case letters where the hash's digit is >= 8."""
    digits = normalize(address)[2:]
    hashed = keccak256(digits.encode()).hex()
    pairs = zip(digits, hashed, strict=False)
    return "0x" + "".join(c.upper() if int(h, 16) >= 8 else c for c, h in pairs)


def of_public_key(uncompressed: bytes) -> str:
    """Return the address of a secp256k1 public key (65 bytes, leading 0x04), in lower case."""
    return "0x" + keccak256(uncompressed[1:])[-20:].hex()
