"""The work of `ls`, `watch`, `stat`, `mkdir`, `mv`, `rm`, `chmod` and `chown` in a container."""

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, TypeVar

from pve402 import client, schemas
from pve402.cli import calls, credentials, guest_work, terminal

Result = TypeVar("Result")

_SAID: Final = {"ready": "watching", "overflow": "changes were lost; list the folder"}
_AGAIN: Final = "watching again; changes in between may be missing, so list the folder"
_SIGNS: Final = {"file": "", "folder": "/", "link": "@", "other": "|"}


def list_folder(
    url: str, token: str | None, name: str, path: str, depth: int, *, as_json: bool
) -> None:
    """Print each page as it arrives."""

    async def listed(service: client.Client, ctid: str) -> None:
        async for page in client.entries.pages(service, ctid, path, depth=depth):
            if as_json:
                for entry in page.entries:
                    terminal.show(entry, as_json=True)
            elif page.entries:
                terminal.show_columns([_row(entry) for entry in page.entries])

    _run(url, token, name, listed)


def watch(
    url: str, token: str | None, name: str, path: str, depth: int, *, as_json: bool
) -> NoReturn:
    """Print each change as it is told."""

    async def watched(service: client.Client, ctid: str) -> None:
        said = dict(_SAID)
        async for change in client.watching.changes_for_ever(service, ctid, path, depth=depth):
            if as_json:
                terminal.show_facts({"event": change.kind, "path": change.path})
            elif change.path:
                terminal.show_columns([(f"{change.kind:7}", change.path)])
            else:
                terminal.say(said[change.kind])
                said["ready"] = _AGAIN

    _run(url, token, name, watched)
    raise AssertionError("it goes on until it is stopped")


def show(url: str, token: str | None, name: str, path: str, *, as_json: bool) -> None:
    """Print the facts of one entry."""
    found = _run(url, token, name, lambda service, ctid: client.entries.show(service, ctid, path))
    terminal.show(found, as_json=as_json)


def make(
    url: str, token: str | None, name: str, path: str, mode: str, *, with_parents: bool
) -> None:
    """Make a folder."""
    permissions = guest_work.permissions(mode)
    _run(
        url,
        token,
        name,
        lambda service, ctid: client.entries.make(
            service, ctid, path, mode=permissions, with_parents=with_parents
        ),
    )


def move(url: str, token: str | None, name: str, path: str, to: str, *, replaces: bool) -> None:
    """Move an entry."""
    _run(
        url,
        token,
        name,
        lambda service, ctid: client.entries.move(service, ctid, path, to, replaces=replaces),
    )


def remove(url: str, token: str | None, name: str, path: str, *, is_recursive: bool) -> None:
    """Remove an entry."""
    _run(
        url,
        token,
        name,
        lambda service, ctid: client.entries.remove(service, ctid, path, is_recursive=is_recursive),
    )


def change(
    url: str, token: str | None, name: str, path: str, *, mode: str = "", owner: str = ""
) -> None:
    """Set mode or owner."""
    permissions = guest_work.permissions(mode)
    _run(
        url,
        token,
        name,
        lambda service, ctid: client.entries.change(
            service, ctid, path, mode=permissions, owner=owner
        ),
    )


def _run(
    url: str,
    token: str | None,
    name: str,
    act: Callable[[client.Client, str], Awaitable[Result]],
) -> Result:
    async def acted(service: client.Client) -> Result:
        return await act(service, await client.names.resolve(service, name))

    return calls.run(credentials.holder(url, token), acted)


def _row(entry: schemas.EntryItem) -> tuple[str, ...]:
    changed = terminal.moment(entry.modified_at) or "?"
    owner = f"{entry.uid}:{entry.gid}"
    return (entry.mode, owner, str(entry.size_bytes), changed, entry.name + _SIGNS[entry.kind])
