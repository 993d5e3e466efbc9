"""Files and folders of a container: lists them, describes, makes, moves, removes and changes them.

Paths are text as `os.fsdecode` makes it, so they can hold any bytes; those in answers are
percent-encoded, which `path_of` undoes.

async with client.Client("https://rent.example.com", token="...") as service:
    async for page in client.entries.pages(service, "10001", "/srv"):
        print([entry.path for entry in page.entries])
"""

import os
from collections.abc import AsyncGenerator
from typing import TypeVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

from pydantic import BaseModel

from pve402 import schemas
from pve402.client import errors, transport
from pve402.client.client import Client

Answer = TypeVar("Answer", bound=BaseModel)


def path_of(entry: schemas.EntryItem) -> str:
    """The exact path of an entry, as `os.fsdecode` makes it."""
    return os.fsdecode(unquote_to_bytes(entry.path))


async def pages(
    service: Client, ctid: str, path: str, *, depth: int = 1
) -> AsyncGenerator[schemas.FolderAnswer]:
    """Yield a folder's entries in pages, each folder before what is in it.

    Raises Refused, ServiceUnreachable, UnexpectedAnswer, KeyNeeded.
    """
    after: str | None = ""
    while after is not None:
        fields = query(path=path, depth=str(depth), after=after)
        found = await _ask(service, "GET", ctid, f"folders/{ctid}{fields}", schemas.FolderAnswer)
        yield found
        if found.after == after:
            raise errors.UnexpectedAnswer("the listing is incomplete; the folder changes too fast")
        after = found.after


async def show(service: Client, ctid: str, path: str) -> schemas.EntryAnswer:
    """Describe a file, folder or link. Raises as `pages`."""
    return await _entry(service, "GET", ctid, f"entries/{ctid}{query(path=path)}")


async def make(
    service: Client, ctid: str, path: str, *, mode: int | None = None, with_parents: bool = False
) -> schemas.EntryAnswer:
    """Make a folder. Raises as `pages`."""
    fields = query(path=path, mode=_octal(mode), parents=_flag(with_parents))
    return await _entry(service, "POST", ctid, f"folders/{ctid}{fields}")


async def move(
    service: Client, ctid: str, path: str, to: str, *, replaces: bool = False
) -> schemas.EntryAnswer:
    """Move or rename a file, folder or link. Raises as `pages`."""
    fields = query(path=path, to=to, replace=_flag(replaces))
    return await _entry(service, "POST", ctid, f"entries/{ctid}/move{fields}")


async def change(
    service: Client, ctid: str, path: str, *, mode: int | None = None, owner: str = ""
) -> schemas.EntryAnswer:
    """Set mode, owner or both. Raises as `pages`."""
    fields = query(path=path, mode=_octal(mode), owner=owner)
    return await _entry(service, "POST", ctid, f"entries/{ctid}/attributes{fields}")


async def remove(service: Client, ctid: str, path: str, *, is_recursive: bool = False) -> None:
    """Remove a file, link or folder; a full folder only if recursive. Raises as `pages`."""
    fields = query(path=path, recursive=_flag(is_recursive))
    target = f"/management/entries/{ctid}{fields}"
    async with service.opened("DELETE", target, ctid, timeout=transport.WHOLE) as answer:
        await transport.read_reply(answer)


async def _entry(service: Client, method: str, ctid: str, target: str) -> schemas.EntryAnswer:
    return await _ask(service, method, ctid, target, schemas.EntryAnswer)


async def _ask(service: Client, method: str, ctid: str, target: str, kind: type[Answer]) -> Answer:
    path = f"/management/{target}"
    async with service.opened(method, path, ctid, timeout=transport.WHOLE) as answer:
        return transport.read(await transport.read_reply(answer), kind)


def query(**fields: str) -> str:
    """A query of the fields that are not empty; paths may hold any bytes."""
    pairs = [
        f"{name}={quote_from_bytes(os.fsencode(text))}" for name, text in fields.items() if text
    ]
    return f"?{'&'.join(pairs)}"


def _octal(mode: int | None) -> str:
    return "" if mode is None else f"{mode:04o}"


def _flag(value: bool) -> str:
    return "true" if value else ""
