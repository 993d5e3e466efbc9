"""Words and selectors of the Ethereum contract ABI, as far as payments need them.

This is enough to read and pay without an ABI library.
"""

from typing import Final

from pve402.payments.addresses import keccak256


def selector(signature: str) -> str:
    """Return the four-byte selector of a function, as `0x` hex."""
    return "0x" + keccak256(signature.encode())[:4].hex()


def topic(signature: str) -> str:
    """Return the topic that identifies an event, as `0x` hex."""
    return "0x" + keccak256(signature.encode()).hex()


def address_word(address: str) -> str:
    """Return an address as a 32-byte word for calls and indexed topics (hex, no prefix)."""
    return "0" * 24 + address[2:]


def uint_word(value: int) -> str:
    """Return a number as a 32-byte word (hex, no prefix)."""
    return f"{value:064x}"


def bytes_tail(value: bytes) -> str:
    """Return the tail of a dynamic `bytes` argument: its length, then its bytes, padded."""
    padding = -len(value) % 32
    return uint_word(len(value)) + value.hex() + "00" * padding


_IS_VALID_SIGNATURE: Final = selector("isValidSignature(bytes32,bytes)")
EIP1271_MAGIC: Final = _IS_VALID_SIGNATURE
"""A contract wallet returns this, the function's own selector, if a signature is valid."""


def is_valid_signature(message_hash: bytes, signature: bytes) -> str:
    """Return calldata that asks a contract wallet if a signature is valid (EIP-1271)."""
    return _IS_VALID_SIGNATURE + message_hash.hex() + uint_word(2 * 32) + bytes_tail(signature)
