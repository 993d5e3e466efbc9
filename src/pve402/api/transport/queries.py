"""What a query asks for: paths in UTF-8 for files, and fields of any bytes; each given once."""

import re
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request

from pve402.domain import errors

_LONGEST_BYTES: Final = 4096
_NUMBER: Final = re.compile(r"[0-9]{1,4}")
_MODE: Final = re.compile(r"0?[0-7]{3,4}")


def file_path(request: Request) -> str:
    """Return the absolute path of a file. Raises InvalidRequest."""
    path = field(request, "path")
    if path.endswith("/"):
        raise errors.InvalidRequest("path must be the absolute path of a file")
    return _checked(path, "file")


def folder_path(request: Request) -> str:
    """Return the absolute path of a folder, without a slash at its end. Raises InvalidRequest."""
    return _checked(field(request, "path"), "folder").rstrip("/") or "/"


def field(request: Request, name: str) -> str:
    """Return a field exactly as given; empty if it is missing. Raises InvalidRequest."""
    try:
        query: str = request.scope["query_string"].decode("utf-8")
        given = parse_qs(query, keep_blank_values=True, errors="strict").get(name, [""])
    except UnicodeDecodeError:
        raise errors.InvalidRequest(f"{name} must be UTF-8, percent-encoded") from None
    if len(given) > 1:
        raise errors.InvalidRequest(f"{name} must be given once")
    return given[0]


class Query:
    """The query's fields as bytes; each may be given once."""

    def __init__(self, request: Request) -> None:
        text = request.scope["query_string"].decode("latin-1")
        self._fields = parse_qs(text, keep_blank_values=True, encoding="latin-1")

    def raw(self, name: str) -> bytes:
        """A field's bytes; empty if it is missing."""
        given = self._fields.get(name, [""])
        if len(given) > 1:
            raise errors.InvalidRequest(f"{name} must be given once")
        value: str = given[0]
        return value.encode("latin-1")

    def text(self, name: str) -> str:
        """A field in ASCII; empty if it is missing."""
        return self.raw(name).decode("ascii", "replace")

    def flag(self, name: str) -> bool:
        """A field that is `true`, `false` or missing."""
        value = self.text(name)
        if value not in {"", "true", "false"}:
            raise errors.InvalidRequest(f"{name} must be true or false")
        return value == "true"

    def number(self, name: str, default: int, highest: int) -> int:
        """A whole number from 1 up to `highest`."""
        value = self.text(name)
        if not value:
            return default
        if not _NUMBER.fullmatch(value) or not 1 <= int(value) <= highest:
            raise errors.InvalidRequest(f"{name} must be a whole number from 1 to {highest}")
        return int(value)

    def mode(self) -> int | None:
        """Octal permissions; None if they are missing."""
        value = self.text("mode")
        if value and not _MODE.fullmatch(value):
            raise errors.InvalidRequest("mode must be octal permissions such as 0755")
        return int(value, 8) if value else None


def _checked(path: str, what: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise errors.InvalidRequest(f"path must be the absolute path of a {what}")
    if len(path.encode("utf-8", "surrogateescape")) > _LONGEST_BYTES:
        raise errors.InvalidRequest("path must be at most 4,096 bytes long")
    return path
