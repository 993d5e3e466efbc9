"""Calls and events of an EIP-3009 token, as bytes.

Selectors, topics and word layouts are those of the contract ABI; the token is FiatToken v2.2
(circlefin/stablecoin-evm). Enough is known here that no ABI library is needed to read or pay.
"""

from typing import Final

from pve402.payments.addresses import keccak256
from pve402.payments.payment import Payment


def _selector(signature: str) -> str:
    return "0x" + keccak256(signature.encode())[:4].hex()


def _topic(signature: str) -> str:
    return "0x" + keccak256(signature.encode()).hex()


TRANSFER: Final = _topic("Transfer(address,address,uint256)")
AUTHORIZATION_USED: Final = _topic("AuthorizationUsed(address,bytes32)")
AUTHORIZATION_CANCELED: Final = _topic("AuthorizationCanceled(address,bytes32)")

_ARGUMENTS: Final = "address,address,uint256,uint256,uint256,bytes32"
_TRANSFER_VRS: Final = _selector(f"transferWithAuthorization({_ARGUMENTS},uint8,bytes32,bytes32)")
_TRANSFER_BYTES: Final = _selector(f"transferWithAuthorization({_ARGUMENTS},bytes)")
_AUTHORIZATION_STATE: Final = _selector("authorizationState(address,bytes32)")
_BALANCE_OF: Final = _selector("balanceOf(address)")
_IS_VALID_SIGNATURE: Final = _selector("isValidSignature(bytes32,bytes)")
EIP1271_MAGIC: Final = _IS_VALID_SIGNATURE
"""What a contract wallet answers when it stands by a signature: its own selector."""


def address_word(address: str) -> str:
    """An address as a 32-byte word, as in calls and indexed topics (hex, no prefix)."""
    return "0" * 24 + address[2:]


def transfer_with_authorization(payment: Payment) -> str:
    """Calldata that settles the payment.

    A 65-byte signature goes as (v, r, s), which every version of the token takes; anything else
    is a contract wallet's and goes as bytes, which the token has since v2.2.
    """
    words = [
        address_word(payment.payer),
        address_word(payment.pay_to),
        _uint_word(payment.amount_atomic),
        _uint_word(payment.valid_after),
        _uint_word(payment.valid_before),
        payment.nonce[2:],
    ]
    signature = payment.signature_bytes
    if len(signature) != 65:
        return _TRANSFER_BYTES + "".join(words) + _uint_word(7 * 32) + _bytes_tail(signature)
    v = signature[64] + 27 if signature[64] < 27 else signature[64]
    return _TRANSFER_VRS + "".join(words) + _uint_word(v) + signature[:64].hex()


def authorization_state(payer: str, nonce: str) -> str:
    """Calldata that asks whether a nonce was used or cancelled."""
    return _AUTHORIZATION_STATE + address_word(payer) + nonce[2:]


def balance_of(holder: str) -> str:
    """Calldata that asks for a balance in atomic units."""
    return _BALANCE_OF + address_word(holder)


def is_valid_signature(message_hash: bytes, signature: bytes) -> str:
    """Calldata that asks a contract wallet whether it stands by a signature (EIP-1271)."""
    return _IS_VALID_SIGNATURE + message_hash.hex() + _uint_word(2 * 32) + _bytes_tail(signature)


def _uint_word(value: int) -> str:
    return f"{value:064x}"


def _bytes_tail(value: bytes) -> str:
    padding = -len(value) % 32
    return _uint_word(len(value)) + value.hex() + "00" * padding
