"""Refusals in the forms that E2B's SDKs read: a status with a message, or a code of Connect.

Codes and what the SDKs make of them are those of e2b 2.63 (PyPI) and 2.51 (npm).
"""

from typing import Any, Final

from aiohttp import web

from pve402 import client
from pve402.client import refusals

_STATUSES: Final = {
    "invalid_argument": 400,
    "unauthenticated": 401,
    "failed_precondition": 402,
    "permission_denied": 403,
    "not_found": 404,
    "already_exists": 409,
    "resource_exhausted": 429,
    "unimplemented": 501,
}
_KINDS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (refusals.FileMissing, "not_found"),
    (refusals.FileExists, "already_exists"),
    (refusals.InvalidRequest, "invalid_argument"),
    (refusals.PaymentRefused, "failed_precondition"),
    (refusals.TooMany, "resource_exhausted"),
    (refusals.NoCapacity, "resource_exhausted"),
    (client.OverCap, "failed_precondition"),
    (client.KeyNeeded, "failed_precondition"),
    (client.RequestInvalid, "invalid_argument"),
    (client.FileTooLarge, "resource_exhausted"),
    (TimeoutError, "deadline_exceeded"),
)
_UNKNOWN: Final = (
    "a payment was sent, and its outcome is not known yet; see `pve402 ls` before you try again"
)
#: Codes of the service that mean more than their class.
_BY_CODE: Final = {
    "file_refused": ("invalid_argument", ""),
    "not_a_folder": ("invalid_argument", ""),
    "too_many_streams": (
        "resource_exhausted",
        "the sandbox runs as many programs as it may; wait for one to end, or end one",
    ),
}
#: The lease itself is gone.
GONE: Final = (refusals.LeaseOver, refusals.LeaseNotFound)


class Refused(Exception):
    """What a program asked for is refused; `code` is one of Connect's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status outside of RPC."""
        return _STATUSES.get(self.code, 500)

    @property
    def rpc(self) -> dict[str, Any]:
        """The error of an RPC."""
        return {"code": self.code, "message": self.message}


class Gone(Exception):
    """There is no such sandbox, or it has ended."""

    def __init__(self, sandbox_id: str) -> None:
        super().__init__("the sandbox was not found")
        self.sandbox_id = client.plain(sandbox_id, 64)


def of(error: Exception) -> Refused:
    """Translate an error of our own client, or that there is no time left."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, client.OutcomeUnknown):
        return Refused("internal", _UNKNOWN)
    if isinstance(error, client.Refused) and error.code in _BY_CODE:
        code, told = _BY_CODE[error.code]
        return Refused(code, told or error.detail)
    code = next((code for kind, code in _KINDS if isinstance(error, kind)), "internal")
    return Refused(code, str(error) or "there is no time left")


def answer(status: int, message: str, **headers: str) -> web.Response:
    """Refuse outside of RPC; the SDKs show the message, and send nothing again."""
    told = {"code": status, "message": message}
    return web.json_response(told, status=status, headers={"Should-Retry": "false", **headers})


def gone(sandbox_id: str) -> web.Response:
    """Answer for a sandbox that is not there, as E2B's edge does; the SDKs know the words."""
    told = {"sandboxId": sandbox_id, "message": "The sandbox was not found", "code": 502}
    return web.json_response(told, status=502)
