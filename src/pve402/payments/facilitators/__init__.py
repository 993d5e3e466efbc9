"""Those who move the money: a facilitator over HTTP, or our own signer on the chain.

`base` has the interface both meet, `http` and `embedded` the two of them.
"""

from pve402.payments.facilitators.base import (
    Facilitator,
    Outcome,
    Settlement,
    Verification,
)

__all__ = ["Facilitator", "Outcome", "Settlement", "Verification"]
