"""How far a purchase has come, and whether its payment may still be taken after an error."""

from typing import Final

from pve402 import schemas
from pve402.client import errors, names, refusals

_CLOSED: Final = (refusals.ProvisioningFailed, refusals.PaymentOwed, refusals.PaymentRefused)


class Standing:
    """How far a purchase has come; its methods are for `on_progress` of `Client`."""

    def __init__(self) -> None:
        self.is_sent = False
        self.lease_id = ""

    def note(self, accepted: schemas.LeaseAnswer | None) -> None:
        """Record that the payment is sent, and later the lease that it buys."""
        self.is_sent = True
        if accepted is not None and names.is_lease_id(accepted.lease_id):
            self.lease_id = accepted.lease_id

    def note_sent(self, _accepted: schemas.LeaseAnswer | None) -> None:
        """Record only the payment, as the lease already exists."""
        self.is_sent = True

    def is_open_after(self, error: Exception) -> bool:
        """Whether a sent payment may still be taken after this error."""
        if isinstance(error, errors.Refused):
            return self.is_sent and not self._is_closed_by(error)
        return self.is_sent

    def _is_closed_by(self, refused: errors.Refused) -> bool:
        """Whether the order is known to have failed, or never to have been accepted."""
        return isinstance(refused, _CLOSED) if self.lease_id else refused.is_final
