"""Files into a guest and out of it, and folders as archives, streamed over the guest's session.

A file is written next to its destination and moved into place once its checksum matches, so a
broken transfer leaves nothing under the final name. Links are followed. An existing file keeps
its owner, and its mode unless the caller sets one. A download has the length the file had when
it began, even if the file grows in the meantime.
"""

import asyncio
import functools
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from weakref import WeakValueDictionary

from pve402.hub import downloads, errors, file_script, packing, uploads
from pve402.hub.downloads import Download
from pve402.hub.file_script import BLOCK_BYTES, FileInfo
from pve402.hub.hub import Hub
from pve402.hub.request import ExecResult
from pve402.hub.uploads import Link, Upload
from pve402.proxmox.guests import GuestRef

__all__ = ["Check", "Download", "FileInfo", "Files", "Link"]

#: Smaller files are read at once, so that they have the checksum even if they change all the time.
_SMALL_BYTES = 64 * 1024
#: Larger files are not read twice for a checksum, unless somebody needs it.
_SUMMED_BYTES = 64 * 1024 * 1024
_OCTAL = re.compile(r"[0-7]{1,5}")
_WRITTEN = re.compile(r"(\d{1,19}) ([0-9a-f]{64}|-)\n")

#: Looks at the file that an upload would replace, None if there is none, and raises to keep it.
Check = Callable[[FileInfo | None], None]
#: What is done with an upload that is there complete, under a temporary name.
_Finish = Callable[[str], Awaitable[ExecResult]]


class Files:
    """Reads and writes files in guests as root."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._replacing: WeakValueDictionary[GuestRef, asyncio.Lock] = WeakValueDictionary()

    async def put_file(
        self,
        guest: GuestRef,
        path: str,
        chunks: AsyncIterator[bytes],
        *,
        mode: int | None = None,
        limit_bytes: int | None = None,
        sha256: str = "",
        check: Check | None = None,
        link: Link | None = None,
    ) -> FileInfo:
        """Write a file; `sha256`, if given, is the checksum the caller expects.

        With a `link`, the guest is asked to fetch the bytes; if it does not come, they go through
        its terminal.

        Without a mode, a new file gets 0644 and an existing file keeps its own. `check` looks at
        the file that is there before the upload, and again right before it is replaced, while no
        other upload to this guest replaces anything.

        Raises FileTooLarge, FileMissing (no such directory), FileRefused, OutputDamaged, and what
        `check` raises.
        """
        file_script.check_path(path)
        await self._check(guest, path, check)

        async def keep(temporary: str) -> ExecResult:
            mode_text = "-" if mode is None else f"{mode:o}"
            async with self._replacing.setdefault(guest, asyncio.Lock()):
                await self._check(guest, path, check)
                return await file_script.run(self._hub, guest, "keep", path, temporary, mode_text)

        upload = Upload(chunks, self._limit(limit_bytes))
        info, kept = await self._carried(guest, path, upload, sha256, link, keep)
        return replace(info, mode=_read_mode(kept, mode))

    async def put_archive(
        self,
        guest: GuestRef,
        folder: str,
        chunks: AsyncIterator[bytes],
        *,
        limit_bytes: int | None = None,
        sha256: str = "",
        link: Link | None = None,
    ) -> FileInfo:
        """Have the guest unpack an archive (tar, or tar with gzip) into a folder.

        That begins once it is there complete; if it fails, a part may be unpacked. Raises as
        `put_file`, and ArchiveRefused.
        """
        path = f"{folder.rstrip('/')}/."
        file_script.check_path(path)
        upload = Upload(chunks, self._limit(limit_bytes))

        async def unpack(temporary: str) -> ExecResult:
            flag = "1" if upload.head.startswith(packing.MAGIC) else "0"
            words, limit_seconds = ("unpack", path, temporary, flag), uploads.TRANSFER_SECONDS
            return await file_script.run(self._hub, guest, *words, timeout_seconds=limit_seconds)

        info, _ = await self._carried(guest, path, upload, sha256, link, unpack)
        return info

    async def look(self, guest: GuestRef, path: str) -> FileInfo:
        """Describe a file with its checksum. Raises FileMissing, FileRefused."""
        file_script.check_path(path)
        return await file_script.look(self._hub, guest, path, summed=True)

    async def get_file(
        self,
        guest: GuestRef,
        path: str,
        *,
        limit_bytes: int | None = None,
        is_summed: bool = False,
    ) -> Download:
        """Describe a file for reading; a large one gets a checksum only if `is_summed`.

        Raises FileMissing, FileRefused, FileTooLarge; the chunks raise OutputDamaged if the
        file changes while it is read.
        """
        file_script.check_path(path)
        info = await file_script.look(self._hub, guest, path)
        if info.size_bytes > self._limit(limit_bytes):
            raise errors.FileTooLarge
        if info.size_bytes <= _SMALL_BYTES:
            return await self._read_small(guest, path, info)
        if info.size_bytes <= _SUMMED_BYTES or is_summed:
            info = await file_script.look(self._hub, guest, path, summed=True)
        return Download(info=info, part=downloads.Reader(self._hub, guest, path, info).part)

    async def get_archive(
        self, guest: GuestRef, folder: str, *, is_packed: bool, limit_bytes: int | None = None
    ) -> AsyncIterator[bytes]:
        """Start to read a folder as an archive, and return its bytes as they arrive.

        Raises FileMissing, NotAFolder, FileRefused; the chunks raise FileTooLarge, and FileRefused
        if the guest could not read everything.
        """
        limit_bytes = self._limit(limit_bytes)
        chunks = downloads.archive(
            self._hub, guest, folder, is_packed=is_packed, limit_bytes=limit_bytes
        )
        return packing.joined(await anext(chunks, b""), chunks)

    def _limit(self, limit_bytes: int | None) -> int:
        return self._hub.options.max_file_bytes if limit_bytes is None else limit_bytes

    async def _carried(
        self,
        guest: GuestRef,
        path: str,
        upload: Upload,
        sha256: str,
        link: Link | None,
        finish: _Finish,
    ) -> tuple[FileInfo, ExecResult]:
        """Bring an upload in beside its path, check it, and finish it; leave nothing else."""
        temporary = f".pve402-{secrets.token_hex(8)}"
        try:
            carrier = uploads.Carrier(self._hub, guest)
            result = await carrier.carry(upload, link, path, temporary)
            info = _compare(file_script.checked(result), upload, sha256)
            return info, await finish(temporary)
        except BaseException:
            with suppress(errors.HubError):
                await file_script.run(self._hub, guest, "drop", path, temporary)
            raise

    async def _read_small(self, guest: GuestRef, path: str, info: FileInfo) -> Download:
        """Read a small file before it is described, as it is now."""
        blocks = _SMALL_BYTES // BLOCK_BYTES + 1
        words = ("read", path, "0", str(blocks), "0")
        data = (await file_script.run(self._hub, guest, *words)).stdout
        if len(data) >= blocks * BLOCK_BYTES:
            data = data[: info.size_bytes]
        found = replace(info, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        return Download(info=found, part=functools.partial(downloads.whole, data))

    async def _check(self, guest: GuestRef, path: str, check: Check | None) -> None:
        if check is None:
            return
        try:
            found = await self.look(guest, path)
        except errors.FileMissing:
            check(None)
        else:
            check(found)


def _compare(result: ExecResult, upload: Upload, sha256: str) -> FileInfo:
    found = _WRITTEN.fullmatch(result.stdout.decode("ascii", "replace"))
    digest = upload.digest.hexdigest()
    if sha256 and sha256.lower() != digest:
        raise errors.RequestRefused("the bytes sent do not have the given checksum")
    if not found or int(found[1]) != upload.size_bytes or found[2] not in {"-", digest}:
        raise errors.OutputDamaged("the file did not arrive complete")
    return FileInfo(size_bytes=upload.size_bytes, mode=None, sha256=digest)


def _read_mode(result: ExecResult, asked: int | None) -> int | None:
    """The file's mode now, if the guest can tell."""
    text = result.stdout.decode("ascii", "replace").strip()
    return int(text, 8) if _OCTAL.fullmatch(text) else asked
