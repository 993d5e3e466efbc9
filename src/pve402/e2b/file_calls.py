"""Filesystem: the calls by which SDKs list, describe, make, move and remove files of a sandbox."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from pve402.e2b import door, guests, refusals


async def stat(request: web.Request, wish: dict[str, Any]) -> dict[str, Any]:
    """Describe a file or folder."""
    guest, person = await _place(request)
    return {"entry": await guest.stat(_path(person, wish, "path"))}


async def list_folder(request: web.Request, wish: dict[str, Any]) -> dict[str, Any]:
    """List a folder, as deep as asked."""
    guest, person = await _place(request)
    depth = wish.get("depth") or 1
    if type(depth) is not int:
        raise refusals.Refused("invalid_argument", "depth is not a number")
    return {"entries": await guest.list(_path(person, wish, "path"), depth)}


async def make_folder(request: web.Request, wish: dict[str, Any]) -> dict[str, Any]:
    """Make a folder."""
    guest, person = await _place(request)
    return {"entry": await guest.make_folder(_path(person, wish, "path"), person)}


async def move(request: web.Request, wish: dict[str, Any]) -> dict[str, Any]:
    """Move or rename a file or folder."""
    guest, person = await _place(request)
    source, to = _path(person, wish, "source"), _path(person, wish, "destination")
    return {"entry": await guest.move(source, to, person)}


async def remove(request: web.Request, wish: dict[str, Any]) -> dict[str, Any]:
    """Remove a file, or a folder with all that is in it."""
    guest, person = await _place(request)
    path = _path(person, wish, "path")
    if path == "/":
        raise refusals.Refused("invalid_argument", "the whole file system is not removed")
    await guest.remove(path)
    return {}


async def _place(request: web.Request) -> tuple[guests.Guest, guests.Person]:
    guest, _, _ = await door.sandbox(request)
    return guest, await guest.person(door.user_name(request))


def _path(person: guests.Person, wish: Mapping[str, Any], name: str) -> str:
    text = wish.get(name)
    if not isinstance(text, str) or not text:
        raise refusals.Refused("invalid_argument", f"`{name}` is missing")
    return person.path(text)
