"""The x402 protocol without sockets: headers in, payments out; terms in, answers out.

Callers say `protocol.read_payment(...)`, `protocol.challenge(...)`; the parts live in `payment`
(values), `headers` (reading) and `challenge` (writing).
"""

from pve402.payments.challenge import (
    EXPOSED_HEADERS,
    Challenge,
    challenge,
    receipt_header,
    v1_terms,
    v2_resource,
    v2_terms,
)
from pve402.payments.headers import V1_HEADER, V2_HEADER, read_payment
from pve402.payments.payment import SCHEME, Payment, PaymentKey, Requirements, match

__all__ = [
    "EXPOSED_HEADERS",
    "SCHEME",
    "V1_HEADER",
    "V2_HEADER",
    "Challenge",
    "Payment",
    "PaymentKey",
    "Requirements",
    "challenge",
    "match",
    "read_payment",
    "receipt_header",
    "v1_terms",
    "v2_resource",
    "v2_terms",
]
