"""What is told of a folder between two looks."""

from typing import Any

import pytest

from pve402.e2b import watching


class Folder:
    """A container's folder, as a test has it."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    async def list(self, _path: str, _depth: int) -> list[dict[str, Any]]:
        return self.entries


def entry(path: str, kind: str = "FILE", **facts: Any) -> dict[str, Any]:
    """An entry as guests.Guest tells it."""
    usual = {"size": "3", "mode": 0o644, "owner": "user", "group": "user", "modifiedTime": "1"}
    return {"path": f"/srv/{path}", "type": f"FILE_TYPE_{kind}", **usual, **facts}


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        ([], [entry("a")], [("a", "CREATE"), ("a", "CHMOD"), ("a", "WRITE")]),
        ([], [entry("a", size="0")], [("a", "CREATE"), ("a", "CHMOD")]),
        ([], [entry("d", "DIRECTORY")], [("d", "CREATE")]),
        ([entry("a")], [], [("a", "REMOVE")]),
        ([entry("a")], [entry("a")], []),
        ([entry("a")], [entry("a", modifiedTime="2")], [("a", "WRITE")]),
        ([entry("a")], [entry("a", mode=0o600)], [("a", "CHMOD")]),
        (
            [entry("d", "DIRECTORY")],
            [entry("d", "DIRECTORY", modifiedTime="2"), entry("d/b", size="0")],
            [("d/b", "CREATE"), ("d/b", "CHMOD")],
        ),
    ],
)
async def test_differences_are_told_as_events(
    before: list[dict[str, Any]], now: list[dict[str, Any]], told: list[tuple[str, str]]
) -> None:
    folder: Any = Folder()
    watcher = watching.Watcher(folder, "/srv", is_recursive=True, with_entries=True)
    folder.entries = before
    await watcher.begin()
    folder.entries = now

    events = await watcher.events()

    assert [(one["name"], one["type"].removeprefix("EVENT_TYPE_")) for one in events] == told
    assert all(("entry" in one) == (one["type"] != "EVENT_TYPE_REMOVE") for one in events)
    assert await watcher.events() == []
