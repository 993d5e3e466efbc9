"""Changes in a folder of a container, as they happen.

async with client.Client("https://rent.example.com", token="...") as service:
    async for change in client.watching.changes(service, "10001", "/srv", depth=3):
        print(change.kind, change.path)
"""

import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pve402.client import errors, events, refusals
from pve402.client.client import Client
from pve402.client.patience import Patience

_NAMED: Final = frozenset({"created", "changed", "removed"})
#: An error event has a code and no status.
_STATUS: Final = {"file_missing": 404}
_LOST: Final = 502


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happened to a file or folder; `path` is as `os.fsdecode` makes it.

    Two kinds have no path: `ready`, once the folder is watched, and `overflow` if changes were
    lost, so that one should look again.
    """

    kind: str  # created, changed, removed, ready or overflow
    path: str = ""


async def changes(
    service: Client, ctid: str, path: str, *, depth: int = 1
) -> AsyncGenerator[Change]:
    """Yield `ready`, then each change down to `depth` levels, for an hour at most.

    Raises Refused, FileMissing also when the folder goes away, ServiceUnreachable,
    UnexpectedAnswer, KeyNeeded.
    """
    query = f"path={quote_from_bytes(os.fsencode(path))}&depth={depth}"
    target = f"/management/folders/{ctid}/watch?{query}"
    async with service.opened("GET", target, ctid) as answer:
        async for event in events.read(answer):
            if "event" in event:
                yield _change(event["event"], event.get("data", ""))


async def changes_for_ever(
    service: Client, ctid: str, path: str, *, depth: int = 1
) -> AsyncGenerator[Change]:
    """Yield changes as `changes` does, and ask again when that ends or the connection breaks.

    Each time it watches again it yields another `ready`: what happened in between is not told.
    Raises as `changes`.
    """
    patience = Patience()
    while True:
        try:
            async with aclosing(changes(service, ctid, path, depth=depth)) as told:
                async for change in told:
                    patience.answered()
                    yield change
        except errors.ServiceUnreachable as error:
            patience.lost(error)
        await patience.pause()


def _change(kind: str, data: str) -> Change:
    """Parse an event. Raises Refused if it tells why the watch ended, UnexpectedAnswer."""
    try:
        facts = json.loads(data)
        if kind == "error":
            code = str(facts["code"])
            raise refusals.of(_STATUS.get(code, _LOST), code, errors.plain(facts["detail"]))
        path = os.fsdecode(unquote_to_bytes(facts["path"])) if kind in _NAMED else ""
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):
        raise errors.UnexpectedAnswer("the service's event cannot be read") from None
    return Change(kind=kind, path=path)
