"""The service's refusals by kind, so that programs catch a class and compare no codes.

Refused
+-- InvalidRequest         400, 413, 415, 416, 421, 422: it cannot be served as written
+-- NotAuthenticated       401: the token or signature is missing, unknown or expired
+-- PaymentRefused         402: the payment was not accepted; nothing was charged
+-- NotAllowed             403: the credential is good, but not for this
+-- NotFound               404: no such lease, file, command, port or key for this caller
|   +-- LeaseNotFound
|   +-- FileMissing
|   +-- ExecNotFound
+-- LeaseOver              the lease has ended, or is about to
+-- Conflict               409, 412: the request is fine, the state is not
|   +-- NoCapacity
|   +-- LeaseBusy          another change is in progress, or the lease is not ready yet
|   +-- LeaseSuspended
|   +-- GuestNotRunning
|   +-- FileExists
+-- TooMany                429: a limit was reached
+-- ServiceFailed          500, 502: the service or the container failed at it
|   +-- ProvisioningFailed the container did not come up; nothing was charged
|   +-- PaymentOwed        the payment bought nothing and is owed to the wallet
+-- TryLater               408, 503, 504
    +-- OrderOpen          the outcome of an order is not known yet; do not pay again
"""

from collections.abc import Iterator
from typing import Final

from pve402.client.errors import Refused


class InvalidRequest(Refused):
    """The request cannot be served as written."""

    statuses = (400, 413, 415, 416, 421, 422)


class NotAuthenticated(Refused):
    """The token or the signature is missing, unknown, used or expired."""

    statuses = (401,)


class PaymentRefused(Refused):
    """The payment was not accepted; nothing was charged."""

    statuses = (402,)


class NotAllowed(Refused):
    """The credential is good, but not for this call, or the operator sells nothing to it."""

    statuses = (403,)


class NotFound(Refused):
    """The caller has nothing of this name."""

    statuses = (404,)


class LeaseNotFound(NotFound):
    """The caller has no such lease."""

    codes = ("lease_not_found",)


class FileMissing(NotFound):
    """There is no such file or folder in the container."""

    codes = ("file_missing",)


class ExecNotFound(NotFound):
    """The container has no such command."""

    codes = ("exec_not_found",)


class LeaseOver(Refused):
    """The lease has ended."""

    statuses = (410,)
    codes = ("guest_closed", "lease_ended", "lease_over")


class Conflict(Refused):
    """The request is fine, but the state does not allow it now."""

    statuses = (409, 412)


class NoCapacity(Conflict):
    """There is no room for this size now; nothing was charged."""

    codes = ("no_capacity",)


class LeaseBusy(Conflict):
    """Another change to the lease is in progress, or it is not ready yet; try again soon."""

    codes = ("lease_busy", "lease_not_ready")


class LeaseSuspended(Conflict):
    """The operator has suspended the lease."""

    codes = ("lease_suspended",)


class GuestNotRunning(Conflict):
    """The container is not running."""

    codes = ("guest_not_running",)


class FileExists(Conflict):
    """Something has this name already."""

    codes = ("file_exists",)


class TooMany(Refused):
    """A limit was reached; `retry_after_seconds` says when to try again."""

    statuses = (429,)


class ServiceFailed(Refused):
    """The service, or the way into the container, failed."""

    statuses = (500, 502)


class ProvisioningFailed(ServiceFailed):
    """The container did not come up; nothing was charged."""

    codes = ("provisioning_failed",)


class PaymentOwed(ServiceFailed):
    """The payment bought nothing and is owed to the wallet; do not pay again."""

    codes = ("payment_owed",)


class TryLater(Refused):
    """The service cannot answer now."""

    statuses = (408, 503, 504)


class OrderOpen(TryLater):
    """The outcome of an order is not known yet; do not pay again."""

    codes = ("delivery_pending", "order_pending", "settlement_pending")


def of(status: int, code: str, detail: str, retry_after_seconds: int | None = None) -> Refused:
    """Build the refusal of the class that fits best: by its code, or else by its status."""
    kind = _BY_CODE.get(code) or _BY_STATUS.get(status, Refused)
    return kind(status, code, detail, retry_after_seconds)


def kinds(parent: type[Refused] = Refused) -> Iterator[type[Refused]]:
    """All classes of the tree, parents first."""
    for kind in parent.__subclasses__():
        yield kind
        yield from kinds(kind)


_BY_CODE: Final = {code: kind for kind in kinds() for code in vars(kind).get("codes", ())}
_BY_STATUS: Final = {status: kind for kind in kinds() for status in vars(kind).get("statuses", ())}
