"""Every refusal of the product, as one tree; the code of each class is stable.

Pve402Error
├── InvalidRequest                422  the request cannot be served as written
│   ├── UnknownSku
│   ├── OutOfBounds
│   ├── InvalidHostname
│   ├── InvalidPassword
│   ├── InvalidSshKey
│   ├── CredentialRequired
│   ├── UnknownTemplate
│   └── InvalidIdempotencyKey
├── Unauthenticated               401  a credential is missing, unknown, used or expired
├── NotAllowed                    403  the credential is real but narrower than the call
├── LeaseNotFound                 404  no such lease for this caller
├── Conflict                      409  the request is fine, the state is not
│   ├── NoCapacity
│   ├── LeaseBusy
│   ├── LeaseOver
│   ├── LeaseNotReady
│   ├── PaymentReused
│   ├── IdempotencyKeyReused
│   └── PaidTooFarAhead
├── PaymentRefused                402  the payment was not taken; nothing was charged
├── TooMany                       429  a limit protects the others
│   ├── TooManyUnsettled
│   └── WalletMustWait
├── ProvisioningFailed            502  the guest did not come up; nothing was charged
└── TryLater                      503  the outcome is open, or a part is away
    ├── OrderPending
    ├── SettlementPending
    ├── FacilitatorUnavailable
    ├── ProxmoxUnavailable
    ├── DatabaseUnavailable
    └── Overloaded

The numbers are what the HTTP layer answers; the domain itself knows only the classes.
"""

from typing import ClassVar


class Pve402Error(Exception):
    """Something the product refuses, with a code that never changes and a sentence that may."""

    code: ClassVar[str] = "internal_error"

    def __init__(
        self, detail: str | None = None, *, retry_after_seconds: int | None = None
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.detail)


class InvalidRequest(Pve402Error):
    """The request cannot be served as written."""

    code = "invalid_request"


class UnknownSku(InvalidRequest):
    """The catalogue has no such sku."""

    code = "unknown_sku"


class OutOfBounds(InvalidRequest):
    """A number is outside what the sku allows."""

    code = "out_of_bounds"


class InvalidHostname(InvalidRequest):
    """The host name is not a name of RFC 1123: letters, digits and hyphens, 63 at most a label."""

    code = "invalid_hostname"


class InvalidPassword(InvalidRequest):
    """The password must have 5 to 128 printable characters."""

    code = "invalid_password"


class InvalidSshKey(InvalidRequest):
    """An SSH public key is not in the one-line OpenSSH form."""

    code = "invalid_ssh_key"


class CredentialRequired(InvalidRequest):
    """Give a password, an SSH public key, or both."""

    code = "credential_required"


class UnknownTemplate(InvalidRequest):
    """The sku does not offer this template."""

    code = "unknown_template"


class InvalidIdempotencyKey(InvalidRequest):
    """Idempotency-Key must be 22 to 255 visible ASCII characters, at least 128 random bits."""

    code = "invalid_idempotency_key"


class Unauthenticated(Pve402Error):
    """The credential is missing, unknown, already used, or expired."""

    code = "unauthenticated"


class NotAllowed(Pve402Error):
    """The token does not cover this call."""

    code = "not_allowed"


class LeaseNotFound(Pve402Error):
    """There is no such lease for this caller."""

    code = "lease_not_found"


class Conflict(Pve402Error):
    """The state of the lease does not allow this now."""

    code = "conflict"


class NoCapacity(Conflict):
    """No node has room for this size now; nothing was charged."""

    code = "no_capacity"


class LeaseBusy(Conflict):
    """Another change of this lease is under way; try again in a moment."""

    code = "lease_busy"


class LeaseOver(Conflict):
    """The lease has ended and cannot be brought back."""

    code = "lease_over"


class LeaseNotReady(Conflict):
    """The lease is not running yet, or not any more."""

    code = "lease_not_ready"


class PaymentReused(Conflict):
    """This payment was already used for another request."""

    code = "payment_reused"


class IdempotencyKeyReused(Conflict):
    """This Idempotency-Key was already used for another request."""

    code = "idempotency_key_reused"


class PaidTooFarAhead(Conflict):
    """The lease would be paid further ahead than the operator allows."""

    code = "paid_too_far_ahead"


class PaymentRefused(Pve402Error):
    """The payment was refused; nothing was charged."""

    code = "payment_refused"

    def __init__(self, detail: str | None = None, *, reason: str = "payment_refused") -> None:
        super().__init__(detail)
        self.reason = reason


class TooMany(Pve402Error):
    """Too many requests; try again later."""

    code = "too_many_requests"


class TooManyUnsettled(TooMany):
    """Too many creations are waiting for their settlement."""

    code = "too_many_unsettled"


class WalletMustWait(TooMany):
    """A payment of this wallet or lease failed to settle a moment ago; wait before the next."""

    code = "wallet_must_wait"


class ProvisioningFailed(Pve402Error):
    """The container did not come up; it was removed and nothing was charged."""

    code = "provisioning_failed"


class TryLater(Pve402Error):
    """The service cannot answer now; try again later."""

    code = "try_later"


class OrderPending(TryLater):
    """The order is still being worked on; ask again with the same payment."""

    code = "order_pending"


class SettlementPending(TryLater):
    """The outcome of the settlement is not known yet; it will be resolved, do not pay again."""

    code = "settlement_pending"


class FacilitatorUnavailable(TryLater):
    """The payment facilitator does not answer; nothing was charged."""

    code = "facilitator_unavailable"


class ProxmoxUnavailable(TryLater):
    """The machines cannot be reached now; nothing was charged."""

    code = "proxmox_unavailable"


class DatabaseUnavailable(TryLater):
    """The database does not answer; nothing was charged."""

    code = "database_unavailable"


class Overloaded(TryLater):
    """Too much is under way; nothing was charged."""

    code = "overloaded"
