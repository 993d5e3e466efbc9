"""Which part of a file a request asks for (RFC 9110, 14): one range of bytes, or everything."""

import re
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from pve402.domain import errors

_RANGE: Final = re.compile(r"\s*bytes\s*=\s*(\d{0,19})\s*-\s*(\d{0,19})\s*", re.IGNORECASE)


class RangeUnsatisfiable(errors.Pve402Error):
    """The range begins behind the end of the file."""

    detail = "The file has no such bytes; Content-Range says how many it has."
    code = "range_unsatisfiable"

    def __init__(self, size_bytes: int) -> None:
        super().__init__()
        self.size_bytes = size_bytes


@dataclass(frozen=True, kw_only=True)
class Part:
    """A range of a file's bytes."""

    first: int
    size: int
    of: int

    @property
    def content_range(self) -> str:
        """The header that names it."""
        return f"bytes {self.first}-{self.first + self.size - 1}/{self.of}"


def asked(request: Request, size_bytes: int, etag: str) -> Part | None:
    """Return the range asked for; None for the whole file.

    Everything is sent for several ranges, for units and forms that we do not know, and if the file
    is not the one that If-Range names. Raises RangeUnsatisfiable.
    """
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    if found is None or not (found[1] or found[2]) or not _is_of_this_file(request, etag):
        return None
    if not found[1]:  # the last bytes
        size = min(int(found[2]), size_bytes)
        first, last = size_bytes - size, size_bytes - 1
    else:
        first = int(found[1])
        last = min(int(found[2]) if found[2] else size_bytes, size_bytes - 1)
        if found[2] and int(found[2]) < first:
            return None
    if first > last:
        raise RangeUnsatisfiable(size_bytes)
    return Part(first=first, size=last - first + 1, of=size_bytes)


def _is_of_this_file(request: Request, etag: str) -> bool:
    """A date never matches, because a file has none that is exact enough."""
    named = request.headers.getlist("if-range")
    return not named or (bool(etag) and named == [etag])
