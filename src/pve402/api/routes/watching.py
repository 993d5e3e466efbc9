"""Changes in folders of containers, as server-sent events."""

import json
from collections.abc import AsyncGenerator
from typing import Any, Final
from urllib.parse import quote_from_bytes

from starlette.requests import Request
from starlette.responses import Response

from pve402.api import visit
from pve402.api.guest_call import GuestCall
from pve402.api.openapi import operations
from pve402.api.transport import queries, routing, sse
from pve402.hub import entries, watching

router = routing.Router("entries")

_WATCH: Final = visit.Door(scope="files", description="Watch a folder in a container")


@router.get("/management/folders/{ctid}/watch", **operations.folder_watched())
async def watch_folder(request: Request) -> Response:
    """Tell what is made, changed and removed in a folder of the container, as events."""
    return await visit.enter(request, _WATCH, _wish, _watch)


def _wish(request: Request, _raw: bytes) -> tuple[bytes, int]:
    """The folder, and how deep to watch it."""
    query = queries.Query(request)
    depth = query.number("depth", 1, entries.DEEPEST)
    entries.check_path(query.raw("path"), may_be_root=True)
    return query.raw("path"), depth


async def _watch(call: GuestCall, wish: tuple[bytes, int]) -> Response:
    path, depth = wish
    changes = call.work.watching.watch(call.guest, path, depth=depth)
    first = await anext(changes)  # it watches, or is refused
    return sse.respond(_events(first, changes, path.rstrip(b"/")))


async def _events(
    first: watching.Change, changes: AsyncGenerator[watching.Change], folder: bytes
) -> AsyncGenerator[bytes]:
    try:
        seconds = watching.LOOK_SECONDS if first.kind == "looking" else None
        yield _event("ready", {"by": first.kind, "everySeconds": seconds})
        async for change in changes:
            if not change.name:
                yield _event(change.kind, {})
                continue
            facts = {
                "name": change.name.decode("utf-8", "replace"),
                "path": quote_from_bytes(folder + b"/" + change.name),
            }
            yield _event(change.kind, facts)
    finally:
        await changes.aclose()


def _event(kind: str, facts: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(facts, separators=(',', ':'))}\n\n".encode()
