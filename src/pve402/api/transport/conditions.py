"""A file request's preconditions and content headers (RFC 9110).

We honour or refuse every header that would change the meaning of a body, and never ignore one.
"""

import re
from typing import Final

from starlette.requests import Request

from pve402.domain import errors

_TAGS: Final = re.compile(r'\s*(?:W/)?"[\x21\x23-\x7e]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e]*"\s*)*')
_TAG: Final = re.compile(r'(W/)?("[\x21\x23-\x7e]*")')


#: Headers that would change the meaning of an upload, and why we refuse them.
_NOT_TAKEN: Final = {
    "content-range": "files are written whole; Content-Range is not supported",
    "range": "files are written whole; Range is not supported",
    "if-unmodified-since": "If-Unmodified-Since is not supported; use If-Match",
    "content-md5": "Content-MD5 is not supported; use Content-Digest with sha-256",
}


class PreconditionFailed(errors.Pve402Error):
    """If-Match or If-None-Match does not hold."""

    detail = "The file does not meet If-Match or If-None-Match; nothing was changed."
    code = "precondition_failed"


class EncodingRefused(errors.Pve402Error):
    """The body is compressed, or a form of several parts."""

    detail = "Send the body exactly as it is to be stored: no Content-Encoding, and no form."
    code = "content_encoding_refused"


def refuse_partial_or_encoded(request: Request) -> None:
    """Accept only a whole, uncompressed file. Raises InvalidRequest, EncodingRefused."""
    for name, message in _NOT_TAKEN.items():
        if name in request.headers:
            raise errors.InvalidRequest(message)
    if request.headers.get("content-type", "").strip().lower().startswith("multipart/"):
        raise EncodingRefused
    encodings = ",".join(request.headers.getlist("content-encoding")).lower().split(",")
    if any(encoding.strip() not in {"", "identity"} for encoding in encodings):
        raise EncodingRefused


def are_asked_for(request: Request) -> bool:
    """Whether the request has preconditions to check first. Raises InvalidRequest."""
    return any(_tags(request, name) is not None for name in ("if-match", "if-none-match"))


def refuse_preconditions(request: Request) -> None:
    """Raise InvalidRequest for preconditions of what has no checksum."""
    if are_asked_for(request):
        raise errors.InvalidRequest("a folder has no ETag; If-Match and If-None-Match need a file")


def check_write(request: Request, etag: str | None) -> None:
    """Check a write's preconditions against the current file.

    `etag` is None if there is no file, and empty if its checksum is not known.
    Raises PreconditionFailed, InvalidRequest.
    """
    wanted, unwanted = _tags(request, "if-match"), _tags(request, "if-none-match")
    if wanted is not None and not _matches(wanted, etag, weak=False):
        raise PreconditionFailed
    if unwanted is not None and _matches(unwanted, etag, weak=True):
        raise PreconditionFailed


def check_read(request: Request, etag: str) -> bool:
    """Return whether the client already has the file. Raises as `check_write`."""
    wanted, known = _tags(request, "if-match"), _tags(request, "if-none-match")
    if wanted is not None and not _matches(wanted, etag, weak=False):
        raise PreconditionFailed
    return known is not None and _matches(known, etag, weak=True)


def _tags(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    if not values:
        return None
    text = ", ".join(values).strip()
    if text != "*" and not _TAGS.fullmatch(text):
        raise errors.InvalidRequest(f"{name} must be * or entity tags in quotes")
    return text


def _matches(tags: str, etag: str | None, *, weak: bool) -> bool:
    if etag is None:
        return False
    if tags == "*":
        return True
    found = [tag for is_weak, tag in _TAG.findall(tags) if weak or not is_weak]
    return bool(etag) and etag in found
