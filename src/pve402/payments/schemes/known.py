"""The payment schemes that we accept."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pve402.payments.payment import Payment
from pve402.payments.schemes.base import Scheme
from pve402.payments.schemes.exact.scheme import Exact

BY_NAME: Final[Mapping[str, Scheme]] = MappingProxyType(
    {scheme.name: scheme for scheme in [Exact()]}
)


def scheme_of(payment: Payment) -> Scheme:
    """Return the scheme that parsed a payment."""
    return BY_NAME[payment.scheme]
