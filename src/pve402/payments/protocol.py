"""The x402 protocol without sockets: headers in, payments out; terms in, answers out.

Callers use `protocol.read_payment(...)`, `protocol.payment_required(...)`; the code is in `payment`
(values), `headers` (reading) and `payment_required` (writing).
"""

from pve402.payments.headers import V1_HEADER, V2_HEADER, read_payment
from pve402.payments.payment import Payment, PaymentKey, Requirements, match
from pve402.payments.payment_required import (
    EXPOSED_HEADERS,
    PaymentRequired,
    payment_required,
    receipt_header,
    v1_terms,
    v2_resource,
    v2_terms,
)

__all__ = [
    "EXPOSED_HEADERS",
    "V1_HEADER",
    "V2_HEADER",
    "Payment",
    "PaymentKey",
    "PaymentRequired",
    "Requirements",
    "match",
    "payment_required",
    "read_payment",
    "receipt_header",
    "v1_terms",
    "v2_resource",
    "v2_terms",
]
