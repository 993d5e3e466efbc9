"""What goes wrong between a tenant and the service.

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

Their texts can be printed: what the service said is in them as `plain` words of bounded length.
"""

from typing import Final

_LONGEST: Final = 500
_LONGEST_CODE: Final = 64


def plain(text: object, most_characters: int = _LONGEST) -> str:
    """Text of one line and bounded length, with nothing in it that would steer a terminal."""
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
    """What answered does not speak as the service does: a wrong address, or a proxy in between."""


class Redirected(UnexpectedAnswer):
    """The service answers from another address, which is not followed: a token would go along."""


class OverCap(ClientError):
    """No offer of the service is within the cap, or on a network this wallet can pay on."""


class KeyNeeded(ClientError):
    """The call must be paid or signed, and no key was given."""


class KeyInvalid(KeyNeeded):
    """What was given is no private key; its text is in no message."""


class TokenInvalid(ClientError):
    """What was given can be no token of the service; its text is in no message."""


class NameUnknown(ClientError):
    """No lease of the caller has this host name."""


class NameAmbiguous(ClientError):
    """Several leases of the caller have this host name."""


class CommandLost(ClientError):
    """A command was started, and how it ends cannot be known any more."""


class FileDamaged(ClientError):
    """A file did not arrive with the checksum it has in the container."""


class FileTooLarge(ClientError):
    """A file is larger than it may be."""


class Refused(ClientError):
    """The service refused; `code` is stable, `retry_after_seconds` says when to come back."""

    def __init__(
        self, status: int, code: str, detail: str, retry_after_seconds: int | None = None
    ) -> None:
        self.status = status
        self.code = plain(code, _LONGEST_CODE)
        self.detail = plain(detail)
        self.retry_after_seconds = retry_after_seconds
        super().__init__(f"{self.detail} ({self.code})")
