"""The refusals shared by all parts of the product, as one tree; each class has a stable code.

Pve402Error
├── InvalidRequest                422  the request cannot be served as written
│   ├── UnknownSku
│   ├── OutOfBounds
│   ├── InvalidHostname
│   ├── InvalidPassword
│   ├── InvalidSshKey
│   ├── CredentialRequired
│   ├── UnknownTemplate
│   ├── InvalidEnv
│   ├── InvalidUserData
│   └── InvalidIdempotencyKey
├── Unauthenticated               401  a credential is missing, unknown, used or expired
├── NotAllowed                    403  the credential is real but narrower than the call
├── Blocked                       403  the operator sells nothing to this client
│   ├── AddressBlocked
│   └── WalletBlocked
├── LeaseNotFound                 404  no such lease for this caller
├── UserDataMissing               404  the lease came without a script
├── OwedNotFound                  404  nothing of this name is owed to this caller
├── LeaseEnded                    410  the token's lease is over
├── Conflict                      409  the request is fine, the state is not
│   ├── NoCapacity
│   ├── LeaseBusy
│   ├── LeaseOver
│   ├── LeaseNotReady
│   ├── LeaseSuspended
│   ├── InboundFixed
│   ├── PaymentReused
│   ├── IdempotencyKeyReused
│   ├── OwedBusy
│   ├── OwedTooLittle
│   └── PaidTooFarAhead
├── PaymentRefused                402  the payment was not accepted; nothing was charged
├── TooMany                       429  a limit protects the others
│   ├── TooManyUnsettled
│   ├── LimitReached
│   ├── RateLimited
│   └── WalletMustWait
├── ProvisioningFailed            502  the guest did not come up; nothing was charged
├── PaymentOwed                   502  the payment bought nothing and is owed to its payer
└── TryLater                      503  the outcome is open, or a part is away
    ├── IsolationUnavailable
    ├── OrderPending
    │   └── DeliveryPending
    ├── SettlementPending
    ├── FacilitatorUnavailable
    ├── ChainUnavailable
    ├── ProxmoxUnavailable
    ├── DatabaseUnavailable
    └── Overloaded

Refusals of a single part are defined there: `hub.errors`, `guests`, `api`. The numbers are the
status codes of the HTTP layer; the domain itself knows only the classes.
"""


class Pve402Error(Exception):
    """Something the product refuses, with a stable code and a message that may change.

    `detail` is shown to the tenant. `retry_after_seconds` says when the same request can succeed;
    code that knows better than the class passes its own value.
    """

    code: str = "internal_error"
    detail: str = "Something the product refuses."
    retry_after_seconds: int | None = None

    def __init__(
        self, detail: str | None = None, *, retry_after_seconds: int | None = None
    ) -> None:
        self.detail = detail or self.detail
        self.retry_after_seconds = retry_after_seconds or self.retry_after_seconds
        super().__init__(self.detail)


class InvalidRequest(Pve402Error):
    detail = "The request cannot be served as written."
    code = "invalid_request"


class UnknownSku(InvalidRequest):
    detail = "The catalogue has no such sku."
    code = "unknown_sku"


class OutOfBounds(InvalidRequest):
    detail = "A number is outside what the sku allows."
    code = "out_of_bounds"


class InvalidHostname(InvalidRequest):
    detail = (
        "The host name is not valid (RFC 1123): letters, digits and hyphens, at most 63 characters."
    )
    code = "invalid_hostname"


class InvalidPassword(InvalidRequest):
    detail = "The password must be 5 to 128 printable characters."
    code = "invalid_password"


class InvalidSshKey(InvalidRequest):
    detail = "An SSH public key is not in the one-line OpenSSH format."
    code = "invalid_ssh_key"


class CredentialRequired(InvalidRequest):
    detail = "Give a password, an SSH public key, or both."
    code = "credential_required"


class UnknownTemplate(InvalidRequest):
    detail = "The sku does not offer this template."
    code = "unknown_template"


class InvalidEnv(InvalidRequest):
    detail = "A variable in env cannot be set."
    code = "invalid_env"


class InvalidUserData(InvalidRequest):
    detail = "The script in userData cannot be run."
    code = "invalid_user_data"


class InvalidIdempotencyKey(InvalidRequest):
    detail = "Idempotency-Key must be 22 to 255 visible ASCII characters, at least 128 random bits."
    code = "invalid_idempotency_key"


class Unauthenticated(Pve402Error):
    detail = "The credential is missing, unknown, already used, or expired."
    code = "unauthenticated"


class NotAllowed(Pve402Error):
    detail = "The token does not cover this call."
    code = "not_allowed"


class Blocked(Pve402Error):
    detail = "The operator sells nothing to this client; nothing was charged."
    code = "blocked"


class AddressBlocked(Blocked):
    detail = (
        "The operator sells nothing to clients at this address. If you think that this is a"
        " mistake, ask the operator. Nothing was charged."
    )
    code = "address_blocked"


class WalletBlocked(Blocked):
    detail = (
        "The operator sells nothing to this wallet. If you think that this is a mistake, ask the"
        " operator. Nothing was charged."
    )
    code = "wallet_blocked"


class LeaseNotFound(Pve402Error):
    detail = "There is no such lease for this caller."
    code = "lease_not_found"


class UserDataMissing(Pve402Error):
    detail = "This lease came without a script."
    code = "user_data_missing"


class OwedNotFound(Pve402Error):
    detail = "Nothing with this owedId is owed to this wallet."
    code = "owed_not_found"


class LeaseEnded(Pve402Error):
    detail = "The lease of this token has ended."
    code = "lease_ended"


class Conflict(Pve402Error):
    detail = "The state of the lease does not allow this now."
    code = "conflict"


class NoCapacity(Conflict):
    detail = "No node has room for this size right now; nothing was charged."
    code = "no_capacity"
    retry_after_seconds = 60


class LeaseBusy(Conflict):
    detail = "Another change to this lease is in progress; try again in a moment."
    code = "lease_busy"
    retry_after_seconds = 5


class LeaseOver(Conflict):
    detail = "The lease has ended and cannot be brought back."
    code = "lease_over"


class LeaseNotReady(Conflict):
    detail = "The lease has not started yet, or is no longer running."
    code = "lease_not_ready"


class LeaseSuspended(Conflict):
    detail = "The operator has suspended this lease."
    code = "lease_suspended"

    def __init__(self, reason: str = "") -> None:
        super().__init__(f"The operator has suspended this lease: {reason}" if reason else None)


class InboundFixed(Conflict):
    detail = "The operator alone decides what reaches this container from outside."
    code = "inbound_fixed"


class PaymentReused(Conflict):
    detail = "This payment was already used for another request."
    code = "payment_reused"


class IdempotencyKeyReused(Conflict):
    detail = "This Idempotency-Key was already used for another request."
    code = "idempotency_key_reused"


class OwedBusy(Conflict):
    detail = "Another redemption of this money is in progress; wait for its lease."
    code = "owed_busy"
    retry_after_seconds = 10


class OwedTooLittle(Conflict):
    detail = "Less is owed than this lease costs; ask for fewer minutes or a smaller size."
    code = "owed_too_little"


class PaidTooFarAhead(Conflict):
    detail = "The lease would be paid further ahead than the operator allows."
    code = "paid_too_far_ahead"


class PaymentRefused(Pve402Error):
    detail = "The payment was refused; nothing was charged."
    code = "payment_refused"

    def __init__(self, detail: str | None = None, *, reason: str = "payment_refused") -> None:
        super().__init__(detail)
        self.reason = reason


class TooMany(Pve402Error):
    detail = "Too many requests; try again later."
    code = "too_many_requests"
    retry_after_seconds: int | None = 30


class TooManyUnsettled(TooMany):
    detail = "Too many creations are waiting for settlement; nothing was charged."
    code = "too_many_unsettled"
    retry_after_seconds = 10


class LimitReached(TooMany):
    detail = "This service leases no more to one party at a time; nothing was charged."
    code = "limit_reached"
    retry_after_seconds = 60


class RateLimited(TooMany):
    detail = (
        "This address, this wallet, or all new wallets together sent too many requests in a minute;"
        " nothing was charged."
    )
    code = "rate_limited"


class WalletMustWait(TooMany):
    detail = "A payment by this wallet or for this lease just failed to settle; wait and pay again."
    code = "wallet_must_wait"


class ProvisioningFailed(Pve402Error):
    detail = "The container did not come up; it was removed and nothing was charged."
    code = "provisioning_failed"


class PaymentOwed(Pve402Error):
    detail = (
        "The payment was taken and bought nothing, so it is owed to the wallet that paid: sign in "
        "with it and see GET /owed. Do not pay again."
    )
    code = "payment_owed"


class TryLater(Pve402Error):
    detail = "The service cannot answer right now; try again later."
    code = "try_later"
    retry_after_seconds = 10


class IsolationUnavailable(TryLater):
    detail = "New containers could not be isolated right now, so none is sold; nothing was charged."
    code = "isolation_unavailable"
    retry_after_seconds = 60


class OrderPending(TryLater):
    detail = "The order is still in progress; ask again with the same payment."
    code = "order_pending"
    retry_after_seconds = 5


class DeliveryPending(OrderPending):
    detail = (
        "The payment is settled, and the container did not come up yet. It is tried again; what "
        "cannot be delivered is owed to the wallet that paid (GET /owed). Do not pay again."
    )
    code = "delivery_pending"


class SettlementPending(TryLater):
    detail = (
        "The outcome of the settlement is not known yet; it will be resolved. Do not pay again."
    )
    code = "settlement_pending"
    retry_after_seconds = 5


class FacilitatorUnavailable(TryLater):
    detail = "The payment facilitator is not answering; nothing was charged."
    code = "facilitator_unavailable"


class ChainUnavailable(TryLater):
    detail = "The payment network cannot be read right now; nothing was charged."
    code = "chain_unavailable"


class ProxmoxUnavailable(TryLater):
    detail = "The machines cannot be reached right now; nothing was charged."
    code = "proxmox_unavailable"


class DatabaseUnavailable(TryLater):
    detail = "The database is not answering; nothing was charged."
    code = "database_unavailable"
    retry_after_seconds = 2


class Overloaded(TryLater):
    detail = "The service is overloaded; nothing was charged."
    code = "overloaded"
    retry_after_seconds = 10
