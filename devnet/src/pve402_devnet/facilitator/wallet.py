"""A key that signs transactions (EIP-1559), without the usual heavy library."""

from __future__ import annotations

import rlp  # type: ignore[import-untyped, unused-ignore]
from eth_keys.main import lazy_key_api as keys
from eth_utils.crypto import keccak

DYNAMIC_FEE = b"\x02"


class Wallet:
    """One private key and its address."""

    def __init__(self, private_key: str) -> None:
        self._key = keys.PrivateKey(bytes.fromhex(private_key.removeprefix("0x")))
        self.address = str(self._key.public_key.to_checksum_address())

    def sign(
        self, *, chain_id: int, nonce: int, fee_per_gas: int, gas_limit: int, to: str, data: bytes
    ) -> bytes:
        """Return a raw transaction without value; the whole fee may go to the block's producer."""
        fields = [
            *(_number(n) for n in (chain_id, nonce, fee_per_gas, fee_per_gas, gas_limit)),
            bytes.fromhex(to[2:]),
            b"",
            data,
            [],
        ]
        digest = keccak(DYNAMIC_FEE + rlp.encode(fields))
        proof = [_number(part) for part in self._key.sign_msg_hash(digest).vrs]
        return bytes(DYNAMIC_FEE + rlp.encode([*fields, *proof]))


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
