"""Signs EIP-1559 transactions with one secp256k1 key.

A facilitator sends only this kind of transaction, so the server need not load an Ethereum library
with thousands of modules. The tests compare the result with eth-account byte for byte.
"""

from dataclasses import dataclass
from typing import Final

from pve402.payments import addresses, curve

_TYPE: Final = b"\x02"  # EIP-2718 envelope type of EIP-1559
_Item = int | bytes | list["_Item"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Transaction:
    """An unsigned EIP-1559 transaction that sends no ether and has no access list."""

    chain_id: int
    nonce: int
    priority_fee_per_gas_wei: int
    max_fee_per_gas_wei: int
    gas_limit: int
    to: str
    data: str
    """Calldata as `0x` hex."""


class SigningKey:
    """The facilitator's own account."""

    def __init__(self, private_key_hex: str) -> None:
        """Read the key.

        Raises:
            ValueError: not 32 bytes of hex on the curve. The message does not repeat it.
        """
        digits = private_key_hex.strip().removeprefix("0x")
        try:
            self._key = curve.Key(bytes.fromhex(digits))
        except ValueError:
            raise ValueError("a private key is 32 bytes of hex") from None
        if len(digits) != 64:
            raise ValueError("a private key is 32 bytes of hex")
        self.address = addresses.of_public_key(self._key.public_key)

    def __repr__(self) -> str:
        return f"SigningKey(address={self.address!r})"

    def sign(self, transaction: Transaction) -> tuple[str, str]:
        """Return the signed bytes as `0x` hex, and the transaction's hash."""
        fields = _fields(transaction)
        message_hash = addresses.keccak256(_TYPE + rlp(fields))
        signature = self._key.sign(message_hash)
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:64], "big")
        raw = _TYPE + rlp([*fields, signature[64], r, s])
        return "0x" + raw.hex(), "0x" + addresses.keccak256(raw).hex()


def fees_of(raw: str) -> tuple[int, int]:
    """Read the priority fee and maximum fee per gas (wei) from our own signed bytes."""
    body = bytes.fromhex(raw[2:])[1:]
    at = 1 if body[0] < 0xF8 else 1 + body[0] - 0xF7
    numbers: list[int] = []
    while len(numbers) < 4:  # chain id, nonce, priority fee, maximum fee
        size = max(0, body[at] - 0x80)
        start = at + (body[at] >= 0x80)
        at = start + (size if body[at] >= 0x80 else 1)
        numbers.append(int.from_bytes(body[start:at], "big"))
    return numbers[2], numbers[3]


def rlp(item: _Item) -> bytes:
    """Encode in recursive length prefix form (Ethereum Yellow Paper, appendix B)."""
    if isinstance(item, list):
        body = b"".join(rlp(part) for part in item)
        return _prefix(len(body), 0xC0) + body
    raw = item if isinstance(item, bytes) else item.to_bytes((item.bit_length() + 7) // 8, "big")
    if len(raw) == 1 and raw[0] < 0x80:
        return raw
    return _prefix(len(raw), 0x80) + raw


def _prefix(length: int, offset: int) -> bytes:
    if length < 56:
        return bytes((offset + length,))
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((offset + 55 + len(size),)) + size


def _fields(transaction: Transaction) -> list[_Item]:
    return [
        transaction.chain_id,
        transaction.nonce,
        transaction.priority_fee_per_gas_wei,
        transaction.max_fee_per_gas_wei,
        transaction.gas_limit,
        bytes.fromhex(transaction.to[2:]),
        0,
        bytes.fromhex(transaction.data[2:]),
        [],
    ]
