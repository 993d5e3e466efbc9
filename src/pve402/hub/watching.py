"""Changes in a guest's folder as they happen: by the guest's inotifywait, or else by looking often.

What inotifywait tells of one folder is complete, except after an overflow, which is told. Of
folders below it misses what is in a new one already, so they are looked at. Looking finds what
differs between two looks: it misses what comes and goes meanwhile, and a change that leaves size,
mode, owner and the second of the last change alone. More than a page of entries is not looked at.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from pve402.hub import entries, errors, guest_scripts
from pve402.hub.hub import Hub
from pve402.hub.request import EventKind
from pve402.proxmox.guests import GuestRef

LOOK_SECONDS: Final = 2.0
#: A watch ends after so long; who wants to go on asks again.
LONGEST_SECONDS: Final = 3600.0
#: Watches of one guest at a time.
MOST_WATCHES: Final = 4
_LONGEST_BYTES: Final = 8192
_OVERFLOW: Final = "Q_OVERFLOW"
_GONE: Final = frozenset({"DELETE_SELF", "MOVE_SELF", "UNMOUNT"})
_EVENT: Final = re.compile(rb"([A-Z_,]{1,100}) ([^\0]{0,255})", re.DOTALL)
_KINDS: Final = {
    "CREATE": "created",
    "MOVED_TO": "created",
    "DELETE": "removed",
    "MOVED_FROM": "removed",
    "CLOSE_WRITE": "changed",
    "ATTRIB": "changed",
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """What happened to an entry of the folder.

    Some have no name: `inotify` and `looking` say that it is watched now, and how; `overflow` says
    that changes were lost, so one should look again.
    """

    kind: str  # created, changed, removed, or one without a name
    name: bytes = b""


class _NoTool(Exception):
    """The guest has no inotifywait that we can use."""


class Watching:
    """Watches folders in guests."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._entries = entries.Entries(hub)
        self._watches: Counter[GuestRef] = Counter()

    async def watch(
        self, guest: GuestRef, folder: bytes, *, depth: int = 1
    ) -> AsyncGenerator[Change]:
        """Watch `depth` levels of a folder; names are below it.

        First comes a change of kind `inotify` or `looking`, once it watches.

        Raises FileMissing, also once the folder is gone, NotAFolder, FileRefused, TooManyWatches,
        OutputDamaged if the guest's tool tells nothing, or nonsense.
        """
        if self._watches[guest] >= MOST_WATCHES:
            raise errors.TooManyWatches
        self._watches[guest] += 1
        try:
            async with aclosing(self._any(guest, folder, depth)) as changes:
                async for change in changes:
                    yield change
        finally:
            self._watches[guest] -= 1
            if not self._watches[guest]:
                del self._watches[guest]

    async def _any(self, guest: GuestRef, folder: bytes, depth: int) -> AsyncGenerator[Change]:
        first = await self._page(guest, folder, depth)
        is_told = False
        try:
            if depth > 1:
                raise _NoTool
            async with aclosing(self._told(guest, folder)) as told:
                async for change in told:
                    is_told = True
                    yield change
            if not is_told:
                raise errors.OutputDamaged
        except _NoTool:
            if not is_told:
                async with aclosing(self._seen(guest, folder, depth, first)) as seen:
                    async for change in seen:
                        yield change

    async def _told(self, guest: GuestRef, folder: bytes) -> AsyncGenerator[Change]:
        """Yield what inotifywait tells. Raises _NoTool if the guest has none."""
        path = folder.decode("utf-8", "surrogateescape")
        limit_seconds = LONGEST_SECONDS
        request = guest_scripts.request("watch", path, timeout_seconds=limit_seconds, flows=True)
        execution = await self._hub.start(guest, request)
        waiting = b""
        try:
            async for event in execution.follow():
                if event.error is not None:
                    raise event.error
                if event.result is not None and not event.result.timed_out:
                    raise _NoTool
                if event.kind is not EventKind.STDOUT:
                    continue
                *whole, waiting = (waiting + event.data).split(b"\0")
                if len(waiting) > _LONGEST_BYTES:
                    raise errors.OutputDamaged
                for text in whole:
                    if (change := _read(text)) is not None:
                        yield change
        finally:
            execution.cancel()

    async def _seen(
        self, guest: GuestRef, folder: bytes, depth: int, before: dict[bytes, entries.Entry]
    ) -> AsyncGenerator[Change]:
        yield Change(kind="looking")
        loop = asyncio.get_running_loop()
        end_at = loop.time() + LONGEST_SECONDS
        while loop.time() < end_at:
            await asyncio.sleep(LOOK_SECONDS)
            now = await self._page(guest, folder, depth)
            for name in before.keys() - now.keys():
                yield Change(kind="removed", name=name)
            for name, entry in now.items():
                if name not in before:
                    yield Change(kind="created", name=name)
                elif entry != before[name]:
                    yield Change(kind="changed", name=name)
            before = now

    async def _page(self, guest: GuestRef, folder: bytes, depth: int) -> dict[bytes, entries.Entry]:
        page = await self._entries.page(guest, folder, depth=depth, limit=entries.LARGEST_PAGE)
        if page.after is not None:
            raise errors.FileRefused("the folder has too many entries to be watched")
        return {entry.name: entry for entry in page.entries}


def _read(text: bytes) -> Change | None:
    """Read an event; None for one that means nothing here. Raises OutputDamaged, FileMissing."""
    found = _EVENT.fullmatch(text)
    if found is None:
        raise errors.OutputDamaged
    words = found[1].decode().split(",")
    if words == ["READY"]:
        return Change(kind="inotify")
    if _GONE.intersection(words):
        raise errors.FileMissing("The folder is gone.")
    if _OVERFLOW in words:
        return Change(kind="overflow")
    kind = next((_KINDS[word] for word in words if word in _KINDS), None)
    return None if kind is None or not found[2] else Change(kind=kind, name=found[2])
