"""Files and folders of containers: lists them, describes, makes, moves, removes and changes them.

A path in the query is percent-encoded bytes, so every name that a container can hold can be asked
for; answers give each path in the same form.
"""

import dataclasses
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import visit
from pve402.api.guest_call import GuestCall
from pve402.api.messages import reply
from pve402.api.openapi import operations
from pve402.api.transport import queries, routing
from pve402.domain import errors
from pve402.hub import entries

router = routing.Router("entries")

_LIST: Final = visit.Door(scope="files", description="List a folder in a container")
_LOOK: Final = visit.Door(scope="files", description="Describe a file in a container")
_CHANGE: Final = visit.Door(scope="files", description="Change files in a container")


@router.get("/management/folders/{ctid}", **operations.folder_listed())
async def list_folder(request: Request) -> Response:
    """List a folder in the container, page by page and as deep as asked."""
    return await visit.enter(request, _LIST, _read_list, _list)


@router.post("/management/folders/{ctid}", **operations.entry("entry", "folder_mode", "parents"))
async def make_folder(request: Request) -> Response:
    """Make a folder in the container."""
    return await visit.enter(request, _CHANGE, _Wish.read, _make)


@router.get("/management/entries/{ctid}", **operations.entry("entry"))
async def show_entry(request: Request) -> Response:
    """Describe a file, folder or link in the container."""
    return await visit.enter(request, _LOOK, _Wish.read, _look)


@router.delete("/management/entries/{ctid}", **operations.entry_removed())
async def remove_entry(request: Request) -> Response:
    """Remove a file, link or folder from the container; a full folder only if recursive."""
    return await visit.enter(request, _CHANGE, _Wish.read, _remove)


@router.post("/management/entries/{ctid}/move", **operations.entry("entry", "to", "replace"))
async def move_entry(request: Request) -> Response:
    """Move or rename a file, folder or link in the container."""
    return await visit.enter(request, _CHANGE, _read_move, _move)


@router.post(
    "/management/entries/{ctid}/attributes", **operations.entry("entry", "new_mode", "owner")
)
async def change_entry(request: Request) -> Response:
    """Set the mode and the owner of a file or folder in the container."""
    return await visit.enter(request, _CHANGE, _read_change, _change)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Wish:
    """What to do with one entry; a route uses the fields that it takes."""

    path: bytes
    to: bytes
    mode: int | None
    owner: str
    replaces: bool
    is_recursive: bool
    with_parents: bool

    @classmethod
    def read(cls, request: Request, _raw: bytes) -> "_Wish":
        query = queries.Query(request)
        entries.check_path(query.raw("path"), may_be_root=request.method == "GET")
        return cls(
            path=query.raw("path"),
            to=query.raw("to"),
            mode=query.mode(),
            owner=query.text("owner"),
            replaces=query.flag("replace"),
            is_recursive=query.flag("recursive"),
            with_parents=query.flag("parents"),
        )


def _read_move(request: Request, raw: bytes) -> _Wish:
    wish = _Wish.read(request, raw)
    entries.check_path(wish.to)
    return wish


def _read_change(request: Request, raw: bytes) -> _Wish:
    wish = _Wish.read(request, raw)
    if wish.mode is None and not wish.owner:
        raise errors.InvalidRequest("give mode, owner or both")
    entries.check_owner(wish.owner)
    return wish


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Listing:
    """The part of a folder to list."""

    path: bytes
    depth: int
    limit: int
    after: bytes


def _read_list(request: Request, _raw: bytes) -> _Listing:
    query = queries.Query(request)
    wish = _Listing(
        path=query.raw("path"),
        depth=query.number("depth", 1, entries.DEEPEST),
        limit=query.number("limit", entries.LARGEST_PAGE, entries.LARGEST_PAGE),
        after=unquote_to_bytes(query.text("after")),
    )
    entries.check_path(wish.path, may_be_root=True)
    entries.check_after(wish.after, wish.depth)
    return wish


async def _list(call: GuestCall, wish: _Listing) -> Response:
    page = await call.work.entries.page(
        call.guest, wish.path, depth=wish.depth, limit=wish.limit, after=wish.after
    )
    folder = wish.path.rstrip(b"/")
    items = [
        schemas.EntryItem(**_facts(entry, folder + b"/" + entry.name)) for entry in page.entries
    ]
    after = None if page.after is None else quote_from_bytes(page.after)
    return reply.respond(
        schemas.FolderAnswer(
            ctid=call.lease.ctid, path=quote_from_bytes(wish.path), entries=items, after=after
        )
    )


async def _look(call: GuestCall, wish: _Wish) -> Response:
    return await _described(call, wish.path)


async def _make(call: GuestCall, wish: _Wish) -> Response:
    mode = 0o755 if wish.mode is None else wish.mode
    await call.work.entries.make(call.guest, wish.path, mode=mode, with_parents=wish.with_parents)
    return await _described(call, wish.path)


async def _move(call: GuestCall, wish: _Wish) -> Response:
    await call.work.entries.move(call.guest, wish.path, wish.to, replaces=wish.replaces)
    return await _described(call, wish.to)


async def _change(call: GuestCall, wish: _Wish) -> Response:
    await call.work.entries.change(call.guest, wish.path, mode=wish.mode, owner=wish.owner)
    return await _described(call, wish.path)


async def _remove(call: GuestCall, wish: _Wish) -> Response:
    await call.work.entries.remove(call.guest, wish.path, is_recursive=wish.is_recursive)
    return Response(status_code=204)


async def _described(call: GuestCall, path: bytes) -> Response:
    entry = await call.work.entries.look(call.guest, path)
    target = None if entry.target is None else quote_from_bytes(entry.target)
    facts = _facts(entry, path)
    return reply.respond(schemas.EntryAnswer(ctid=call.lease.ctid, target=target, **facts))


def _facts(entry: entries.Entry, path: bytes) -> dict[str, Any]:
    return {
        "name": entry.name.decode("utf-8", "replace"),
        "path": quote_from_bytes(path),
        "kind": entry.kind,
        "size_bytes": entry.size_bytes,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "modified_at": _time(entry.modified_at_s),
    }


def _time(seconds: int) -> datetime | None:
    """A file's time can lie outside of what dates can say."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None
