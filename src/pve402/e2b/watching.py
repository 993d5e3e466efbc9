"""Changes in folders of a sandbox: by looking, and telling what differs from the look before.

So what comes and goes between two looks is not told, and a rename is told as REMOVE and CREATE. A
new file is told as E2B's agent tells it: CREATE, CHMOD, and WRITE if there is something in it.
"""

from collections.abc import Iterator
from typing import Any, Final

from pve402.e2b import guests

_DEEPEST: Final = 100
_WRITTEN: Final = ("size", "modifiedTime")
_CHANGED: Final = ("mode", "owner", "group")

_Seen = dict[str, dict[str, Any]]


class Watcher:
    """Watches a folder."""

    def __init__(
        self, guest: guests.Guest, folder: str, *, is_recursive: bool, with_entries: bool
    ) -> None:
        self._guest = guest
        self._folder = folder
        self._depth = _DEEPEST if is_recursive else 1
        self._with_entries = with_entries
        self._seen: _Seen = {}

    async def begin(self) -> None:
        """Take the first look. Raises Refused, ClientError."""
        self._seen = await self._look()

    async def events(self) -> list[dict[str, Any]]:
        """What changed since the last look. Raises Refused, ClientError."""
        before, self._seen = self._seen, await self._look()
        return [
            self._event(path, kind, self._seen.get(path))
            for path, kind in _differences(before, self._seen)
        ]

    async def _look(self) -> _Seen:
        found = await self._guest.list(self._folder, self._depth)
        return {entry["path"]: entry for entry in found}

    def _event(self, path: str, kind: str, entry: dict[str, Any] | None) -> dict[str, Any]:
        name = path.removeprefix(self._folder.rstrip("/") + "/")
        told: dict[str, Any] = {"name": name, "type": f"EVENT_TYPE_{kind}"}
        return {**told, "entry": entry} if self._with_entries and entry else told


def _differences(before: _Seen, now: _Seen) -> Iterator[tuple[str, str]]:
    for path in before.keys() - now.keys():
        yield path, "REMOVE"
    for path, entry in now.items():
        if path not in before:
            yield from ((path, kind) for kind in _of_new(entry))
            continue
        if entry["type"] == "FILE_TYPE_FILE" and _differ(before[path], entry, _WRITTEN):
            yield path, "WRITE"
        if _differ(before[path], entry, _CHANGED):
            yield path, "CHMOD"


def _of_new(entry: dict[str, Any]) -> Iterator[str]:
    yield "CREATE"
    if entry["type"] == "FILE_TYPE_FILE":
        yield "CHMOD"
        if entry["size"] != "0":
            yield "WRITE"


def _differ(one: dict[str, Any], other: dict[str, Any], names: tuple[str, ...]) -> bool:
    return any(one[name] != other[name] for name in names)
