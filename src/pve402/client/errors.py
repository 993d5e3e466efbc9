"""The client's errors.

ClientError
+-- ServiceUnreachable
+-- AddressInvalid
+-- UnexpectedAnswer
|   +-- Redirected
+-- OverCap
+-- KeyNeeded
|   +-- KeyInvalid
+-- TokenInvalid
+-- NameUnknown
+-- NameAmbiguous
+-- CommandLost
+-- FileDamaged
+-- FileTooLarge
+-- Refused

Their texts are safe to print: words from the service go through `plain`, which bounds them.
"""

from typing import Final

_LONGEST: Final = 500
_LONGEST_CODE: Final = 64
#: The code of an answer that is not the service's own, such as a proxy's page.
NOT_OURS: Final = "unexpected_answer"
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


class OverCap(ClientError):
    """No offer is both within the cap and on a network this wallet can pay on."""


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


class CommandLost(ClientError):
    """A command was started, but its outcome can no longer be known."""


class FileDamaged(ClientError):
    """A file's checksum differs from the one in the container."""


class FileTooLarge(ClientError):
    """A file is over the size limit."""


class Refused(ClientError):
    """The service refused; `code` is stable, `retry_after_seconds` says when to retry."""

    def __init__(
        self, status: int, code: str, detail: str, retry_after_seconds: int | None = None
    ) -> None:
        self.status = status
        self.code = plain(code, _LONGEST_CODE)
        self.detail = plain(detail)
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{self.detail} ({self.code})")

    @property
    def is_passing(self) -> bool:
        """Whether the same request, with the same payment, may soon get another answer."""
        return self.code in _PASSING or (self.code == NOT_OURS and self.status >= 500)
