"""Server-sent events, as the service tells them."""

from collections.abc import AsyncIterator
from typing import Final

import aiohttp
from aiohttp import http

from pve402.client import errors

#: Others mean nothing; a service that invents them without end fills no memory.
_FIELDS: Final = frozenset({"event", "id", "data"})


async def read(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, str]]:
    """Yield the fields of each event, without the keep-alives between them.

    Raises UnexpectedAnswer for what is no text, or a line of more than aiohttp keeps: twice the
    session's read-ahead.
    """
    fields: dict[str, str] = {}
    async for line in _lines(answer):
        name, _, value = line.partition(":")
        if name in _FIELDS:
            fields[name] = value.removeprefix(" ")
        elif not line and fields:
            yield fields
            fields = {}


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[str]:
    try:
        while line := await answer.content.readline():
            yield line.decode().rstrip("\r\n")
    except (ValueError, http.HttpProcessingError):
        raise errors.UnexpectedAnswer("the service's events cannot be read") from None
