"""The client's errors.

ClientError
+-- ServiceUnreachable
+-- AddressInvalid
+-- UnexpectedAnswer
|   +-- Redirected
+-- RequestInvalid
+-- OverCap
|   +-- OverLimit
+-- LedgerUnusable
+-- NotesUnusable
+-- ChainUnreadable
+-- KeyNeeded
|   +-- KeyInvalid
+-- TokenInvalid
+-- NameUnknown
+-- NameAmbiguous
+-- CommandFailed
+-- CommandLost
+-- FileDamaged
+-- FileTooLarge
+-- OutcomeUnknown
+-- Refused               its kinds are in `refusals`

Their texts are safe to print: words from the service go through `plain`, which bounds them.
"""

import re
from typing import ClassVar, Final

_LONGEST: Final = 500
_LONGEST_CODE: Final = 64
#: Tokens of services like ours, signatures, and JSON in base64, such as a signed payment.
_SECRET: Final = re.compile(r"(?i:pve402_[0-9a-f]{4,}|0x[0-9a-f]{100,})|eyJ[A-Za-z0-9+/_=.-]{16,}")
#: The code of an answer that is not the service's own, such as a proxy's page.
NOT_OURS: Final = "unexpected_answer"
#: The code of a paid order that bought nothing: it is owed.
PAID_IN_VAIN: Final = "payment_owed"
#: Codes that leave an order's outcome open; it may have been accepted before.
_PASSING: Final = frozenset(
    {
        "database_unavailable",
        "internal_error",
        "delivery_pending",
        "order_pending",
        "overloaded",
        "settlement_pending",
        "too_many_requests",
        "try_later",
    }
)


def plain(text: object, most_characters: int = _LONGEST) -> str:
    """Return one line of bounded length, without terminal control characters."""
    shown = str(text)
    if len(shown) > most_characters:
        shown = shown[: most_characters - 3] + "..."
    return "".join(character if character.isprintable() else "?" for character in shown)


def told(text: object, most_characters: int = _LONGEST) -> str:
    """Return words of a service as `plain` does, without secrets.

    It knows a lease's token and what a wallet signed, and may repeat them.
    """
    return _SECRET.sub("[secret]", plain(text, most_characters))


class ClientError(Exception):
    """Something between a tenant and the service went wrong."""


class ServiceUnreachable(ClientError):
    """The service could not be reached."""


class AddressInvalid(ClientError):
    """The address of the service cannot be used."""


class UnexpectedAnswer(ClientError):
    """The answer is not from this service: the address is wrong, or a proxy is in between."""


class Redirected(UnexpectedAnswer):
    """The service redirects; the client does not follow, because it would send the token along."""


class RequestInvalid(ClientError, ValueError):
    """What was asked for cannot be sent; no message contains the values."""


class OverCap(ClientError):
    """No offer is both within the cap and on a network this wallet can pay on."""


class OverLimit(OverCap):
    """The price is over what the spend ledger's limits leave; nothing was signed."""


class LedgerUnusable(ClientError):
    """The spend ledger cannot be read or written, so nothing may be signed."""


class NotesUnusable(ClientError):
    """What this machine keeps about services, wallets and leases cannot be read or written."""


class ChainUnreadable(ClientError):
    """A chain's endpoint gives no usable answer."""


class KeyNeeded(ClientError):
    """The call needs a payment or a signature, but no key was given."""


class KeyInvalid(KeyNeeded):
    """The given text is not a private key; no message contains it."""


class TokenInvalid(ClientError):
    """The given text cannot be a token of the service; no message contains it."""


class NameUnknown(ClientError):
    """No lease of the caller has this host name."""


class NameAmbiguous(ClientError):
    """Several leases of the caller have this host name."""


class CommandFailed(ClientError):
    """A command ended with another code than 0, or ran out of time."""

    def __init__(self, exit_code: int | None, stdout: str, stderr: str) -> None:
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr
        last = (stderr.strip() or stdout.strip()).rpartition("\n")[2]
        how = "ran out of time" if exit_code is None else f"ended with {exit_code}"
        super().__init__(f"the command {how}" + (f": {plain(last, 200)}" if last else ""))


class CommandLost(ClientError):
    """A command was started, but its outcome can no longer be known."""


class FileDamaged(ClientError):
    """A file's checksum differs from the one in the container."""


class FileTooLarge(ClientError):
    """A file is over the size limit."""


class OutcomeUnknown(ClientError):
    """A payment was sent, and whether it was taken is not known yet.

    The same call with `idempotency_key` finds out and buys nothing twice. `lease_id` is the lease
    that it buys, empty if that is not known either.
    """

    def __init__(self, reason: object, idempotency_key: str, lease_id: str = "") -> None:
        self.idempotency_key = idempotency_key
        self.lease_id = lease_id
        super().__init__(
            f"a payment was sent, and its outcome is not known yet ({plain(reason)}); repeat the"
            " call with this error's idempotency_key, which buys nothing twice"
        )


class Refused(ClientError):
    """The service refused; `code` is stable, `retry_after_seconds` says when to retry."""

    #: The codes and statuses that a class is for; see `refusals`.
    codes: ClassVar[tuple[str, ...]] = ()
    statuses: ClassVar[tuple[int, ...]] = ()

    def __init__(
        self, status: int, code: str, detail: str, retry_after_seconds: int | None = None
    ) -> None:
        self.status = status
        self.code = told(code, _LONGEST_CODE)
        self.detail = told(detail)
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{self.detail} ({self.code})")

    @property
    def is_passing(self) -> bool:
        """Whether the same request, with the same payment, may soon get another answer."""
        return self.code in _PASSING or (self.code == NOT_OURS and self.status >= 500)

    @property
    def is_final(self) -> bool:
        """Whether this settles what became of the payment that it answers."""
        return not (self.is_passing or self.status == 503 or self.code == NOT_OURS)
