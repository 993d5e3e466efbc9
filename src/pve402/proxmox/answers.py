"""Turns an HTTP answer of Proxmox VE into a value or an error, without I/O.

Statuses above 594 come from AnyEvent::HTTP, and the API daemons pass them on: 595 means no
connection to the daemon or node that should have served the call, 596 no answer from it
within 30 s, 597 to 599 a broken transfer.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pve402.proxmox import errors, messages

_BY_STATUS: Mapping[int, type[errors.ProxmoxError]] = {
    401: errors.AuthenticationFailed,
    403: errors.PermissionDenied,
    501: errors.CallNotSupported,
    595: errors.Unreachable,
}
_OUTCOME_UNKNOWN = frozenset({502, 503, 504, 596, 597, 598, 599})
_SHORTEST_SECRET = 4


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the API, named without its parameters."""

    method: str
    path: str

    @property
    def is_write(self) -> bool:
        """Whether the call may change something, and so must not be repeated blindly."""
        return self.method != "GET"

    @property
    def name(self) -> str:
        """The name used in errors and logs."""
        return f"{self.method} {self.path}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An HTTP answer as received, its body read up to a limit."""

    status: int
    reason: str
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The result of a successful call: its data, and `total` for a paged list."""

    data: Any
    total: int | None = None


def read(answer: Answer, call: Call, *, secrets: Collection[str] = ()) -> Reply:
    """The reply in `answer`.

    Removes `secrets` from every text that goes into an error, because a server or a proxy
    in between may echo what we sent.

    Raises the class of `pve402.proxmox.errors` that matches the answer.
    """
    if answer.status == 200:
        return _read_success(answer, call)
    raise refusal(answer, call, secrets=secrets)


def refusal(answer: Answer, call: Call, *, secrets: Collection[str] = ()) -> errors.ProxmoxError:
    """The error for an answer with any status but 200."""
    document = _parse(answer.body)
    fields: Mapping[str, Any] = document if isinstance(document, dict) else {}
    message = _message(answer, fields, secrets)
    status, name = answer.status, call.name
    if status == 400:
        return _bad_request(message, fields.get("errors"), call, secrets)
    if status in _BY_STATUS:
        return _BY_STATUS[status](message, call=name, status=status)
    if status in _OUTCOME_UNKNOWN:
        return errors.OutcomeUnknown(message, call=name, status=status)
    if 500 <= status < 595:
        return messages.classify(message, call=name, status=status)
    if 300 <= status < 500:
        # Not from Proxmox but from a proxy in between, which did not forward the call.
        return errors.UnexpectedAnswer(message, call=name, status=status)
    return unusable(call, f"not a status Proxmox gives: {message}", status=status)


def unusable(call: Call, what: str, *, status: int | None = None) -> errors.ProxmoxError:
    """The error for an answer we cannot understand.

    A write may still have been executed, so for a write it is `OutcomeUnknown`.
    """
    if call.is_write:
        return errors.OutcomeUnknown(what, call=call.name, status=status)
    return errors.UnexpectedAnswer(what, call=call.name, status=status)


def scrub(text: str, secrets: Collection[str]) -> str:
    """`text` with every secret replaced."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "<secret>")
    return text


def _read_success(answer: Answer, call: Call) -> Reply:
    document = _parse(answer.body)
    if not isinstance(document, dict) or "data" not in document:
        raise unusable(call, "the answer is not JSON with `data`", status=answer.status)
    total = document.get("total")
    return Reply(data=document["data"], total=total if isinstance(total, int) else None)


def _bad_request(
    message: str, details: object, call: Call, secrets: Collection[str]
) -> errors.ProxmoxError:
    """A 400 names the bad parameters; a few of its texts report a state, not a mistake of ours."""
    pairs = details.items() if isinstance(details, dict) else ()
    texts = {
        messages.tidy(str(name))[:64]: messages.tidy(scrub(str(text), secrets))
        for name, text in list(pairs)[:50]
    }
    for text in texts.values():
        if found := messages.known(text, call=call.name, status=400):
            return found
    return errors.InvalidParameters(message, call=call.name, status=400, errors=texts)


def _message(answer: Answer, fields: Mapping[str, Any], secrets: Collection[str]) -> str:
    """The text of a refusal: from the body or, if that is empty, the reason phrase."""
    text = fields.get("message")
    if not isinstance(text, str) or not text.strip():
        text = answer.reason or f"HTTP {answer.status}"
    return messages.tidy(scrub(text, secrets))


def _parse(body: bytes) -> object:
    """The JSON document in `body`, or None if there is none."""
    try:
        document: object = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
