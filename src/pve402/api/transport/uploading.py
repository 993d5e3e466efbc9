"""The body of an upload: its announced size and checksum, and its bytes as they arrive."""

import asyncio
import base64
import binascii
import re
import time
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request

from pve402.api.transport import body
from pve402.domain import errors
from pve402.hub import errors as hub_errors

MAX_FILE_BYTES: Final = 1024 * 1024 * 1024
LENGTH_HEADER: Final = "pve402-body-length"
"""The length of a body that a peer forwards in pieces."""

_DIGEST: Final = re.compile(r"sha-256=:?([A-Za-z0-9+/]{43}=):?", re.IGNORECASE)
_DIGEST_HEADERS: Final = ("content-digest", "repr-digest", "digest")
_IDLE_SECONDS: Final = 60.0
_PATIENCE_SECONDS: Final = 120.0  # plus the time that the bytes so far take at this rate
_SLOWEST_BYTES_PER_SECOND: Final = 4096


def announced_bytes(request: Request) -> int:
    """Return the announced size, 0 if there is none. Raises FileTooLarge."""
    forwarded = request.headers.get(LENGTH_HEADER, "")
    announced = request.headers.get("content-length", forwarded)
    is_number = announced.isascii() and announced.isdigit()
    size_bytes = int(announced[:18]) if is_number else 0
    if size_bytes > MAX_FILE_BYTES:
        raise hub_errors.FileTooLarge
    return size_bytes


def expected_digest(request: Request) -> str:
    """Return the client's checksum of the body, in hexadecimal; empty if it gave none."""
    given = [request.headers.get(name, "") for name in _DIGEST_HEADERS]
    found = {_digest(text) for text in given if text}
    if len(found) > 1:
        raise errors.InvalidRequest("the digests given are not of one file")
    return found.pop() if found else ""


def _digest(text: str) -> str:
    found = _DIGEST.search(text)
    if found is None:
        raise errors.InvalidRequest("Content-Digest must be sha-256=:BASE64:")
    try:
        return base64.b64decode(found[1], validate=True).hex()
    except binascii.Error:
        raise errors.InvalidRequest("Content-Digest must be sha-256=:BASE64:") from None


async def chunks(request: Request) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; give up on a client that sends too slowly."""
    stream, patience_seconds = request.stream(), _PATIENCE_SECONDS
    while True:
        began_at = time.monotonic()
        try:
            async with asyncio.timeout(min(patience_seconds, _IDLE_SECONDS)):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise body.BodyTooSlow from None
        if chunk is None:
            return
        if chunk:
            patience_seconds += len(chunk) / _SLOWEST_BYTES_PER_SECOND
            patience_seconds -= time.monotonic() - began_at
            yield chunk
