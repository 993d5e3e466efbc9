"""Words and selectors of the Ethereum contract ABI, as far as payments need them.

Enough is written here that no ABI library is needed to read or pay.
"""

from typing import Final

from pve402.payments.addresses import keccak256


def selector(signature: str) -> str:
    """The first four bytes that name a function, as `0x` hex."""
    return "0x" + keccak256(signature.encode())[:4].hex()


def topic(signature: str) -> str:
    """The topic that names an event, as `0x` hex."""
    return "0x" + keccak256(signature.encode()).hex()


def address_word(address: str) -> str:
    """An address as a 32-byte word, as in calls and indexed topics (hex, no prefix)."""
    return "0" * 24 + address[2:]


def uint_word(value: int) -> str:
    """A number as a 32-byte word (hex, no prefix)."""
    return f"{value:064x}"


def bytes_tail(value: bytes) -> str:
    """The tail of a dynamic `bytes` argument: its length, then its bytes in whole words."""
    padding = -len(value) % 32
    return uint_word(len(value)) + value.hex() + "00" * padding


_IS_VALID_SIGNATURE: Final = selector("isValidSignature(bytes32,bytes)")
EIP1271_MAGIC: Final = _IS_VALID_SIGNATURE
"""What a contract wallet answers when it stands by a signature: its own selector."""


def is_valid_signature(message_hash: bytes, signature: bytes) -> str:
    """Calldata that asks a contract wallet whether it stands by a signature (EIP-1271)."""
    return _IS_VALID_SIGNATURE + message_hash.hex() + uint_word(2 * 32) + bytes_tail(signature)
