"""Files and folders of a box."""

import asyncio
import hashlib
import io
import os
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote_to_bytes

from pve402 import client, schemas
from pve402.client import errors, files, refusals

Entry = TypeVar("Entry", bound=schemas.EntryItem)

_FILE_MODE: Final = 0o644


class AsyncFiles:
    """The files of a box, named by absolute paths; every call may raise Refused as its class."""

    def __init__(self, service: client.Client, lease_id: str) -> None:
        self._service = service
        self._lease_id = lease_id

    async def read(self, path: str, *, most_bytes: int = files.LARGEST_FILE_BYTES) -> bytes:
        """Read a file. Raises FileMissing, FileTooLarge, FileDamaged, ServiceUnreachable."""
        reading = files.read_file(self._service, self._lease_id, path, most_bytes=most_bytes)
        async with aclosing(reading):
            return b"".join([piece async for piece in reading])

    async def read_text(self, path: str, *, encoding: str = "utf-8") -> str:
        """Read a file of text. Raises UnicodeDecodeError, and as `read`."""
        return (await self.read(path)).decode(encoding)

    async def write(
        self, path: str, data: bytes | str, *, mode: int = _FILE_MODE
    ) -> schemas.FileAnswer:
        """Write a file, at most 1 GiB; it appears whole. Raises as `read`."""
        content = data.encode() if isinstance(data, str) else data
        source = files.Source(
            file=io.BytesIO(content),
            size_bytes=len(content),
            digest=hashlib.sha256(content).digest(),
            mode=mode,
        )
        query = client.entries.query(path=path, mode=f"{mode:04o}")
        target = f"files/{self._lease_id}{query}"
        return await files.send(self._service, self._lease_id, target, source, None)

    async def upload(self, local: Path | str, path: str) -> None:
        """Copy a local file, or what is in a local folder, into the box.

        Raises OSError for local files, and as `read`.
        """
        is_folder = await asyncio.to_thread(Path(local).is_dir)
        put = client.archives.put_folder if is_folder else files.put_file
        await put(self._service, self._lease_id, Path(local), path)

    async def download(self, path: str, local: Path | str) -> None:
        """Copy a file, or what is in a folder, out of the box; an existing folder takes the file.

        A file appears whole or not at all. Raises OSError for local files, and as `read`.
        """
        target = Path(local)
        if await self._is_folder(path):
            await client.archives.get_folder(self._service, self._lease_id, path, target)
            return
        if await asyncio.to_thread(target.is_dir):
            target /= path.rpartition("/")[2]
        await files.get_file(self._service, self._lease_id, path, target)

    async def list(
        self, path: str, *, depth: int = 1, most: int = 10_000
    ) -> Sequence[schemas.EntryItem]:
        """List a folder, as deep as asked. Raises FileTooLarge for more than `most` entries."""
        found: list[schemas.EntryItem] = []
        pages = client.entries.pages(self._service, self._lease_id, path, depth=depth)
        async with aclosing(pages):
            async for page in pages:
                found += map(_plain, page.entries)
                if len(found) > most:
                    raise errors.FileTooLarge(f"the folder has more than {most} entries")
        return found

    async def stat(self, path: str) -> schemas.EntryAnswer:
        """Describe a file, folder or link. Raises FileMissing."""
        return _plain(await client.entries.show(self._service, self._lease_id, path))

    async def exists(self, path: str) -> bool:
        """Whether something is there."""
        try:
            await self.stat(path)
        except refusals.FileMissing:
            return False
        return True

    async def make_folder(self, path: str, *, parents: bool = True) -> schemas.EntryAnswer:
        """Make a folder. Raises FileExists without `parents` if it is there."""
        made = client.entries.make(self._service, self._lease_id, path, with_parents=parents)
        return _plain(await made)

    async def move(self, path: str, to: str, *, replace: bool = False) -> schemas.EntryAnswer:
        """Move or rename a file, folder or link. Raises FileExists unless `replace`."""
        moved = client.entries.move(self._service, self._lease_id, path, to, replaces=replace)
        return _plain(await moved)

    async def change(
        self, path: str, *, mode: int | None = None, owner: str = ""
    ) -> schemas.EntryAnswer:
        """Set mode, owner (`user` or `user:group`) or both."""
        changed = client.entries.change(self._service, self._lease_id, path, mode=mode, owner=owner)
        return _plain(await changed)

    async def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, link or empty folder, or with `recursive` a full one."""
        await client.entries.remove(self._service, self._lease_id, path, is_recursive=recursive)

    async def _is_folder(self, path: str) -> bool:
        """Whether there is a folder, or a link to one."""
        entry = await self.stat(path)
        if entry.kind == "link":
            try:
                entry = await self.stat(f"{path}/.")
            except errors.Refused:
                return False
        return entry.kind == "folder"


def _plain(entry: Entry) -> Entry:
    """An entry with its paths as `os.fsdecode` makes them, so that other calls take them."""
    paths = {"path": client.entries.path_of(entry)}
    if isinstance(entry, schemas.EntryAnswer) and entry.target is not None:
        paths["target"] = os.fsdecode(unquote_to_bytes(entry.target))
    return entry.model_copy(update=paths)
