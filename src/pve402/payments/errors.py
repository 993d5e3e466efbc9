"""What can go wrong with a payment, as one tree.

    PaymentError
    ├── PaymentRejected         the payment itself is at fault; carries a stable code
    │   └── PaymentMalformed    it could not even be read
    ├── UnknownNetwork          a setting or a payment names a chain that we cannot serve
    ├── FacilitatorUnavailable  nobody could say whether the payment is good; try later
    └── ChainUnavailable        the chain's RPC endpoint gave no usable answer; try later

Their messages never contain anything that the payer wrote: a signed authorization is money until
it is settled, and exceptions end up in logs.
"""

from enum import StrEnum


class Code(StrEnum):
    """Why a payment was rejected: stable codes for answers, logs and metrics."""

    REQUIRED = "payment_required"  # the request has none
    HEADERS_CONFLICT = "payment_headers_conflict"  # both wire versions in one request
    HEADER_REPEATED = "payment_header_repeated"  # one header several times
    HEADER_TOO_LARGE = "payment_header_too_large"
    NOT_BASE64 = "payment_not_base64"
    NOT_JSON = "payment_not_json"
    MALFORMED = "payment_malformed"  # a field is missing, of the wrong type, or out of range
    VERSION_MISMATCH = "payment_version_mismatch"  # v1 content in the v2 header, or the reverse
    UNSUPPORTED_SCHEME = "unsupported_scheme"
    UNSUPPORTED_METHOD = "unsupported_transfer_method"  # Permit2 and the like
    UNSUPPORTED_NETWORK = "unsupported_network"  # unknown to this program
    NETWORK_NOT_ACCEPTED = "payment_network_not_accepted"  # known, but not offered here
    ASSET_MISMATCH = "payment_asset_mismatch"
    RECIPIENT_MISMATCH = "payment_recipient_mismatch"
    AMOUNT_MISMATCH = "payment_amount_mismatch"
    TERMS_MISMATCH = "payment_terms_mismatch"  # the v2 `accepted` differs from what is signed
    NOT_YET_VALID = "payment_not_yet_valid"
    EXPIRED = "payment_expired"
    EXPIRES_TOO_SOON = "payment_expires_too_soon"
    VALID_TOO_LONG = "payment_valid_too_long"
    SIGNATURE_INVALID = "payment_signature_invalid"


class PaymentError(Exception):
    """A payment could not be accepted."""


class PaymentRejected(PaymentError):
    """The payment is at fault.

    `status` is the matching HTTP status: 402 if a new payment would help, 400 if the request was
    not x402 at all.
    """

    status = 402

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class PaymentMalformed(PaymentRejected):
    """The payment header could not be read."""

    status = 400


class UnknownNetwork(PaymentError):
    """The network is not in the table of networks."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class FacilitatorUnavailable(PaymentError):
    """The facilitator gave no usable answer. The outcome is unknown; nothing was claimed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ChainUnavailable(PaymentError):
    """The chain's RPC endpoint gave no usable answer."""

    def __init__(self, method: str, reason: str) -> None:
        super().__init__(f"{method}: {reason}")
        self.method = method
        self.reason = reason
