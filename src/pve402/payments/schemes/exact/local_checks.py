"""The checks of a payment that need no network call.

They run before any network call, the cheapest first: rejecting a payment that cannot settle must
cost us microseconds, not a round trip to a facilitator. The digest is EIP-712 over EIP-3009's
`TransferWithAuthorization`; the domain separator is computed once per token.
"""

import functools
from typing import Final

from pve402.payments import addresses, curve, errors, signatures
from pve402.payments.errors import Code
from pve402.payments.payment import Payment, Requirements
from pve402.payments.schemes.base import Limits, Standing

_DOMAIN_TYPE: Final = addresses.keccak256(
    b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
_TRANSFER_TYPE: Final = addresses.keccak256(
    b"TransferWithAuthorization(address from,address to,uint256 value,"
    b"uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
_CURVE_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def check_window(
    payment: Payment, requirements: Requirements, *, now_seconds: int, limits: Limits
) -> None:
    """Check validAfter and validBefore; the token requires block time strictly between them.

    Raises:
        PaymentRejected: not yet valid, expired, or with too little or far too much time left.
    """
    if payment.valid_after > now_seconds + limits.clock_skew_seconds:
        raise errors.PaymentRejected(Code.NOT_YET_VALID, "the payment is not valid yet")
    remaining_seconds = payment.valid_before - now_seconds
    if remaining_seconds <= 0:
        raise errors.PaymentRejected(Code.EXPIRED, "the payment has expired")
    if remaining_seconds < limits.min_remaining_seconds:
        raise errors.PaymentRejected(
            Code.EXPIRES_TOO_SOON,
            f"the payment must stay valid for {limits.min_remaining_seconds} more seconds, "
            f"but only {remaining_seconds} are left",
        )
    if remaining_seconds > requirements.longest_window_seconds:
        raise errors.PaymentRejected(
            Code.VALID_TOO_LONG,
            f"the payment must be valid for {requirements.max_timeout_seconds} seconds, not longer",
        )


def check_signature(
    payment: Payment, requirements: Requirements, *, payer_has_code: bool | None = None
) -> Standing:
    """Recover the signer as the token does for a payer without code.

    USDC's ECRecover (v2.2 of circlefin/stablecoin-evm) takes 65 bytes with v of 27 or 28
    (facilitators also convert 0 and 1), and reverts if s is in the upper half (malleable).

    Raises:
        PaymentRejected: the signature is certainly invalid.
    """
    if payer_has_code:
        return Standing.NEEDS_FACILITATOR
    shape = signatures.unwrap(payment.signature_bytes)
    if shape is not None and shape.deploys:
        return Standing.NEEDS_FACILITATOR  # the facilitator may deploy this wallet
    signature = signatures.expand(payment.signature_bytes)
    if len(signature) != 65:
        return _unproven(payer_has_code, "a payer without code signs with 64 or 65 bytes")
    if recover(digest(payment, requirements), signature) != payment.payer:
        return _unproven(payer_has_code, "the payer did not sign this payment")
    if int.from_bytes(signature[32:64], "big") > _CURVE_ORDER // 2:
        raise errors.PaymentRejected(
            Code.SIGNATURE_INVALID, "the token refuses signatures with s in the upper half"
        )
    return Standing.PROVEN


def digest(payment: Payment, requirements: Requirements) -> bytes:
    """Return the 32 bytes that the payer signed, under the asset's EIP-712 domain."""
    struct = b"".join(
        (
            _TRANSFER_TYPE,
            _word(payment.payer),
            _word(payment.pay_to),
            payment.amount_atomic.to_bytes(32, "big"),
            payment.valid_after.to_bytes(32, "big"),
            payment.valid_before.to_bytes(32, "big"),
            bytes.fromhex(payment.nonce[2:]),
        )
    )
    separator = domain_separator(
        requirements.asset_name,
        requirements.asset_version,
        requirements.chain.chain_id,
        requirements.asset,
    )
    return addresses.keccak256(b"\x19\x01" + separator + addresses.keccak256(struct))


@functools.lru_cache(maxsize=64)
def domain_separator(name: str, version: str, chain_id: int, contract: str) -> bytes:
    """Return the EIP-712 domain separator of a token (four fields, no salt)."""
    return addresses.keccak256(
        _DOMAIN_TYPE
        + addresses.keccak256(name.encode())
        + addresses.keccak256(version.encode())
        + chain_id.to_bytes(32, "big")
        + _word(contract)
    )


def recover(message_hash: bytes, signature: bytes) -> str | None:
    """Return the address that made a 65-byte signature (r, s, v), or None if there is none."""
    recovery_id = signature[64] - 27 if signature[64] >= 27 else signature[64]
    if recovery_id not in (0, 1):
        return None
    key = curve.recover(message_hash, signature[:64] + bytes((recovery_id,)))
    return None if key is None else addresses.of_public_key(key)


def _unproven(payer_has_code: bool | None, detail: str) -> Standing:
    if payer_has_code is False:
        raise errors.PaymentRejected(Code.SIGNATURE_INVALID, detail)
    return Standing.NEEDS_FACILITATOR


def _word(address: str) -> bytes:
    return bytes(12) + bytes.fromhex(address[2:])
