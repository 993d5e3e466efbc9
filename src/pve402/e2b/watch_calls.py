"""Filesystem: the calls by which SDKs watch folders of a sandbox."""

import asyncio
import secrets
from typing import Any, Final

from aiohttp import web

from pve402.e2b import connect, door, refusals, sandboxes, watching

_LOOK_SECONDS: Final = 1.0
_QUIET_LOOKS: Final = 50
_MOST_WATCHERS: Final = 16


async def watch(request: web.Request, answers: connect.Answers) -> None:
    """Watch a folder for as long as the client listens."""
    live, watcher = await _begun(request, await connect.first_message(request))
    with connect.may_be_cut(request, live.processes.cuts):
        await answers.send({"start": {}})
        quiet = 0
        async with connect.time_limit(request):
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                events = await watcher.events()
                quiet = 0 if events else quiet + 1
                for event in events:
                    await answers.send({"filesystem": event})
                if quiet == _QUIET_LOOKS:
                    quiet = 0
                    await answers.send({"keepalive": {}})


async def create(request: web.Request, wish: dict[str, Any]) -> dict[str, Any]:
    """Watch a folder until the client asks what has changed."""
    live, watcher = await _begun(request, wish)
    if len(live.watchers) >= _MOST_WATCHERS:
        raise refusals.Refused("resource_exhausted", "there are too many watchers; remove some")
    name = secrets.token_hex(8)
    live.watchers[name] = watcher
    return {"watcherId": name}


async def events(request: web.Request, wish: dict[str, Any]) -> dict[str, Any]:
    """What has changed since the last call."""
    _, live, _ = await door.sandbox(request)
    watcher = live.watchers.get(str(wish.get("watcherId")))
    if watcher is None:
        raise refusals.Refused("not_found", "there is no such watcher")
    return {"events": await watcher.events()}


async def remove(request: web.Request, wish: dict[str, Any]) -> dict[str, Any]:
    """Watch no more."""
    _, live, _ = await door.sandbox(request)
    live.watchers.pop(str(wish.get("watcherId")), None)
    return {}


async def _begun(
    request: web.Request, wish: dict[str, Any]
) -> tuple[sandboxes.Live, watching.Watcher]:
    guest, live, _ = await door.sandbox(request)
    person = await guest.person(door.user_name(request))
    watcher = watching.Watcher(
        guest,
        person.path(str(wish.get("path") or "")),
        is_recursive=wish.get("recursive") is True,
        with_entries=wish.get("includeEntry") is True,
    )
    await watcher.begin()
    return live, watcher
