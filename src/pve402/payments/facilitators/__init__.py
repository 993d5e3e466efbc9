"""Facilitators move the money: one reached over HTTP, and our own signer on the chain.

`base` defines the interface; `http` and `embedded` implement it.
"""

from pve402.payments.facilitators.base import (
    Facilitator,
    Outcome,
    Settlement,
    Verification,
)

__all__ = ["Facilitator", "Outcome", "Settlement", "Verification"]
