"""Files into a guest and out of it, streamed over the guest's session.

A file is written next to its destination and moved into place once its checksum matches, so a
broken transfer leaves nothing under the final name. Links are followed. An existing file keeps
its owner, and its mode unless the caller sets one. A download has the length the file had when
it began, even if the file grows in the meantime.
"""

import asyncio
import hashlib
import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from pve402.hub import errors, guest_scripts
from pve402.hub.hub import Hub
from pve402.hub.request import ExecResult
from pve402.proxmox.guests import GuestRef

_BLOCK_BYTES = 64 * 1024
_BLOCKS_AT_ONCE = 32
#: Smaller files are read at once, so that they have the checksum even if they change all the time.
_SMALL_BYTES = 64 * 1024
#: Larger files are not read twice for a checksum.
_SUMMED_BYTES = 64 * 1024 * 1024
_TRANSFER_SECONDS = 3600.0
#: The script's exit code for an upload that it could not fetch.
_NOT_FETCHED = 24
_LOOK = re.compile(r"(\d{1,19}) ([0-7]{1,5}|-) ([0-9a-f]{64}|-)\n")
_OCTAL = re.compile(r"[0-7]{1,5}")
_WRITTEN = re.compile(r"(\d{1,19}) ([0-9a-f]{64}|-)\n")


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """A file in a guest. `sha256` is empty if the file is too large or the guest has no tool."""

    size_bytes: int
    mode: int | None
    sha256: str


#: Looks at the file that an upload would replace, None if there is none, and raises to keep it.
Check = Callable[[FileInfo | None], None]


class Link:
    """An address from which a guest can fetch an upload, and the bytes to send it, once."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.chunks: AsyncIterator[bytes] | None = None
        #: The guest was told of it, and has come.
        self.was_tried = False
        self.is_used = False


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file being read: its description, and its bytes as they arrive."""

    info: FileInfo
    chunks: AsyncIterator[bytes] = field(repr=False)


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
        _check_path(path)
        temporary = f".pve402-{secrets.token_hex(8)}"
        limit = self._hub.options.max_file_bytes if limit_bytes is None else limit_bytes
        upload = _Upload(chunks, limit)
        await self._check(guest, path, check)
        try:
            result = await self._fetch(guest, path, temporary, upload, link)
            if result is None:
                result = await self._write(guest, path, temporary, upload)
            info = _compare(result, upload, sha256)
            mode_text = "-" if mode is None else f"{mode:o}"
            async with self._replacing.setdefault(guest, asyncio.Lock()):
                await self._check(guest, path, check)
                kept = await self._run(guest, "keep", path, temporary, mode_text)
        except BaseException:
            with suppress(errors.HubError):
                await self._run(guest, "drop", path, temporary)
            raise
        return replace(info, mode=_read_mode(kept, mode))

    async def look(self, guest: GuestRef, path: str) -> FileInfo:
        """Describe a file. Raises FileMissing, FileRefused."""
        _check_path(path)
        info = _read_look(await self._run(guest, "look", path, "0"))
        return await self._summed(guest, path, info)

    async def get_file(
        self, guest: GuestRef, path: str, *, limit_bytes: int | None = None
    ) -> Download:
        """Start reading a file.

        Raises FileMissing, FileRefused, FileTooLarge; the chunks raise OutputDamaged if the
        file changes while it is read.
        """
        _check_path(path)
        info = _read_look(await self._run(guest, "look", path, "0"))
        limit = self._hub.options.max_file_bytes if limit_bytes is None else limit_bytes
        if info.size_bytes > limit:
            raise errors.FileTooLarge
        if info.size_bytes <= _SMALL_BYTES:
            return await self._read_small(guest, path, info)
        info = await self._summed(guest, path, info)
        return Download(info=info, chunks=self._read(guest, path, info))

    async def _summed(self, guest: GuestRef, path: str, info: FileInfo) -> FileInfo:
        if info.size_bytes > _SUMMED_BYTES:
            return info
        return _read_look(await self._run(guest, "look", path, "1"))

    async def _read_small(self, guest: GuestRef, path: str, info: FileInfo) -> Download:
        """Read a small file before it is described, as it is now."""
        blocks = _SMALL_BYTES // _BLOCK_BYTES + 1
        data = (await self._run(guest, "read", path, "0", str(blocks))).stdout
        if len(data) >= blocks * _BLOCK_BYTES:
            data = data[: info.size_bytes]
        digest = hashlib.sha256(data).hexdigest()
        found = replace(info, size_bytes=len(data), sha256=digest)
        return Download(info=found, chunks=_pieces(data))

    async def _read(self, guest: GuestRef, path: str, info: FileInfo) -> AsyncIterator[bytes]:
        digest, position = hashlib.sha256(), 0
        while position < info.size_bytes:
            skip = str(position // _BLOCK_BYTES)
            result = await self._run(guest, "read", path, skip, str(_BLOCKS_AT_ONCE))
            data = result.stdout[: info.size_bytes - position]
            expected = min(_BLOCKS_AT_ONCE * _BLOCK_BYTES, info.size_bytes - position)
            if len(data) != expected:
                raise errors.OutputDamaged("the file changed while it was read")
            digest.update(data)
            position += len(data)
            is_whole = position == info.size_bytes
            if is_whole and info.sha256 and digest.hexdigest() != info.sha256:
                raise errors.OutputDamaged("the file changed while it was read")
            yield data

    async def _check(self, guest: GuestRef, path: str, check: Check | None) -> None:
        if check is None:
            return
        try:
            found = await self.look(guest, path)
        except errors.FileMissing:
            check(None)
        else:
            check(found)

    async def _fetch(
        self, guest: GuestRef, path: str, temporary: str, upload: "_Upload", link: Link | None
    ) -> ExecResult | None:
        """Have the guest fetch the bytes; None if it did not come. Raises as `put_file`."""
        if link is None:
            return None
        link.chunks, link.was_tried = upload.chunks(), True
        words = ("files", "pull", path, temporary, link.url)
        result = await self._carry(guest, upload, words, None)
        if result.exit_code != _NOT_FETCHED:
            return _checked(result)
        if link.is_used:
            raise errors.OutputDamaged("the file did not arrive complete")
        return None

    async def _write(
        self, guest: GuestRef, path: str, temporary: str, upload: "_Upload"
    ) -> ExecResult:
        words = ("files", "write", path, temporary)
        return _checked(await self._carry(guest, upload, words, upload.chunks()))

    async def _carry(
        self,
        guest: GuestRef,
        upload: "_Upload",
        words: tuple[str, ...],
        stdin: AsyncIterator[bytes] | None,
    ) -> ExecResult:
        """Run the script that takes an upload. Raises what the upload's source raises."""
        request = guest_scripts.request(*words, timeout_seconds=_TRANSFER_SECONDS)
        execution = await self._hub.start(guest, request, stdin=stdin)
        upload.cancel = execution.cancel
        try:
            result = await execution.wait()
        except BaseException:
            execution.cancel()
            raise
        if upload.error is not None:
            raise upload.error
        return result

    async def _run(self, guest: GuestRef, *arguments: str) -> ExecResult:
        limit = _BLOCK_BYTES * (_BLOCKS_AT_ONCE + 1)
        request = guest_scripts.request("files", *arguments, output_limit_bytes=limit)
        return _checked(await self._hub.exec(guest, request))


class _Upload:
    """Counts and hashes the bytes that pass through, and stops at the limit."""

    def __init__(self, chunks: AsyncIterator[bytes], limit_bytes: int) -> None:
        self.size_bytes = 0
        self.digest = hashlib.sha256()
        self.error: BaseException | None = None
        self.cancel: Callable[[], None] = _nothing
        self._chunks = chunks
        self._limit_bytes = limit_bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes. On an error, cancel the program in the guest and keep the error."""
        try:
            async for chunk in self._chunks:
                self.size_bytes += len(chunk)
                if self.size_bytes > self._limit_bytes:
                    raise errors.FileTooLarge
                self.digest.update(chunk)
                yield chunk
        except Exception as error:  # noqa: BLE001 - whatever the source raises goes to the caller
            self.error = error
            self.cancel()


def _compare(result: ExecResult, upload: _Upload, sha256: str) -> FileInfo:
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


def _read_look(result: ExecResult) -> FileInfo:
    found = _LOOK.fullmatch(result.stdout.decode("ascii", "replace"))
    if not found:
        raise errors.FileRefused
    return FileInfo(
        size_bytes=int(found[1]),
        mode=None if found[2] == "-" else int(found[2], 8),
        sha256="" if found[3] == "-" else found[3],
    )


def _checked(result: ExecResult) -> ExecResult:
    match result.exit_code:
        case 0:
            return result
        case 20:
            raise errors.FileMissing
        case 21:
            raise errors.FileRefused("this is not a regular file")
        case 23:
            raise errors.FileMissing("There is no such directory in the guest; create it first.")
        case _:
            raise errors.FileRefused


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


def _nothing() -> None:
    """There is nothing to cancel yet."""


def _check_path(path: str) -> None:
    if not path.startswith("/") or len(path.encode("utf-8", "surrogateescape")) > 4096:
        raise errors.RequestRefused("the path must be absolute and at most 4,096 bytes long")
    if path.endswith("/"):
        raise errors.RequestRefused("the path must name a file")
