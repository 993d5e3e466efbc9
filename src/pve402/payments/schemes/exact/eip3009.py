"""Encoded calls and events of an EIP-3009 token, as in FiatToken v2.2
(circlefin/stablecoin-evm).
"""

from typing import Final

from pve402.payments import abi
from pve402.payments.payment import Payment

TRANSFER: Final = abi.topic("Transfer(address,address,uint256)")
AUTHORIZATION_USED: Final = abi.topic("AuthorizationUsed(address,bytes32)")
AUTHORIZATION_CANCELED: Final = abi.topic("AuthorizationCanceled(address,bytes32)")

_ARGUMENTS: Final = "address,address,uint256,uint256,uint256,bytes32"
_TRANSFER_VRS: Final = abi.selector(
    f"transferWithAuthorization({_ARGUMENTS},uint8,bytes32,bytes32)"
)
_TRANSFER_BYTES: Final = abi.selector(f"transferWithAuthorization({_ARGUMENTS},bytes)")
_AUTHORIZATION_STATE: Final = abi.selector("authorizationState(address,bytes32)")
_BALANCE_OF: Final = abi.selector("balanceOf(address)")


def transfer_with_authorization(payment: Payment) -> str:
    """Return calldata that settles the payment.

    We pass a 65-byte signature as (v, r, s), which every version of the token accepts. Any other
    length comes from a contract wallet and goes as bytes, which the token accepts since v2.2.
    """
    words = [
        abi.address_word(payment.payer),
        abi.address_word(payment.pay_to),
        abi.uint_word(payment.amount_atomic),
        abi.uint_word(payment.valid_after),
        abi.uint_word(payment.valid_before),
        payment.nonce[2:],
    ]
    signature = payment.signature_bytes
    if len(signature) != 65:
        return _TRANSFER_BYTES + "".join(words) + abi.uint_word(7 * 32) + abi.bytes_tail(signature)
    return _TRANSFER_VRS + "".join(words) + abi.uint_word(signature[64]) + signature[:64].hex()


def authorization_state(payer: str, nonce: str) -> str:
    """Return calldata that asks whether a nonce was used or cancelled."""
    return _AUTHORIZATION_STATE + abi.address_word(payer) + nonce[2:]


def balance_of(holder: str) -> str:
    """Return calldata that asks for a balance in atomic units."""
    return _BALANCE_OF + abi.address_word(holder)
