"""Signature formats, unwrapped and expanded before verification.

ERC-6492 wraps the signature of a contract wallet that may not be deployed yet: the factory, its
call, the inner signature, and a magic word at the end. EIP-2098 packs a key's signature into 64
bytes, with the parity in the top bit of s.
"""

from dataclasses import dataclass
from typing import Final

_MAGIC: Final = bytes.fromhex("6492" * 16)
_TOP_BIT: Final = 1 << 255


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """An unwrapped signature."""

    inner: bytes
    """The signature that the wallet's contract checks."""
    deploys: bool
    """Whether the wrapper can deploy the wallet."""


def unwrap(signature: bytes) -> Shape | None:
    """Remove the ERC-6492 wrapper; None if the magic word is there but the wrapper is invalid."""
    if not signature.endswith(_MAGIC):
        return Shape(inner=signature, deploys=False)
    body = signature[:-32]
    at = int.from_bytes(body[64:96], "big")  # abi.encode(address, bytes, bytes): third offset
    size = int.from_bytes(body[at : at + 32], "big") if at + 32 <= len(body) else len(body)
    if len(body) < 96 or at < 96 or at + 32 + size > len(body):
        return None
    return Shape(inner=body[at + 32 : at + 32 + size], deploys=True)


def expand(signature: bytes) -> bytes:
    """Expand a compact signature (EIP-2098) to 65 bytes; return others unchanged."""
    if len(signature) != 64:
        return signature
    s = int.from_bytes(signature[32:], "big")
    v = 27 + (s >= _TOP_BIT)
    return signature[:32] + (s % _TOP_BIT).to_bytes(32, "big") + bytes((v,))


def as_token_takes_it(signature: bytes) -> bytes:
    """Return a key's signature as 65 bytes with a v of 27 or 28; some wallets write 0 or 1."""
    signature = expand(signature)
    return signature[:64] + bytes((signature[64] + 27 if signature[64] < 27 else signature[64],))
