"""Files and folders on their way out of a guest, in pieces, checked before the last one."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field

from pve402.hub import errors, file_script, guest_scripts, packing
from pve402.hub.file_script import BLOCK_BYTES, BLOCKS_AT_ONCE, FileInfo
from pve402.hub.hub import Hub
from pve402.hub.request import EventKind
from pve402.proxmox.guests import GuestRef

_CHANGED = "the file changed while it was read"
_ARCHIVE_SECONDS = 3600.0

#: Reads so many bytes of a file from a position on.
Read = Callable[[int, int], AsyncIterator[bytes]]


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file to read: its description, and its bytes, or a part of them, as they arrive."""

    info: FileInfo
    part: Read = field(repr=False)

    @property
    def chunks(self) -> AsyncIterator[bytes]:
        """All bytes."""
        return self.part(0, self.info.size_bytes)


class Reader:
    """Reads one file, compressed on the way where that helps."""

    def __init__(self, hub: Hub, guest: GuestRef, path: str, info: FileInfo) -> None:
        self._hub = hub
        self._guest = guest
        self._path = path
        self._info = info
        self._is_packed: bool | None = None

    async def part(self, first: int, size: int) -> AsyncIterator[bytes]:
        """Yield a part of the file, the last piece only if nothing has changed.

        Raises OutputDamaged if it has.
        """
        digest, position, end = hashlib.sha256(), first, first + size
        while position < end:
            number, skipped = divmod(position, BLOCK_BYTES)
            wanted = min(BLOCKS_AT_ONCE * BLOCK_BYTES - skipped, end - position)
            data = (await self._blocks(number))[skipped : skipped + wanted]
            if len(data) != wanted:
                raise errors.OutputDamaged(_CHANGED)
            digest.update(data)
            position += len(data)
            if position == end:
                await self._check(digest.hexdigest() if size == self._info.size_bytes else "")
            yield data

    async def _blocks(self, number: int) -> bytes:
        if self._is_packed is None:
            session = await self._hub.session(self._guest)
            self._is_packed = packing.TOOL in session.hello.tools
        words = ("read", self._path, str(number), str(BLOCKS_AT_ONCE))
        flag = "1" if self._is_packed else "0"
        data = (await file_script.run(self._hub, self._guest, *words, flag)).stdout
        if not self._is_packed:
            return data
        plain = packing.unpacked(data, BLOCKS_AT_ONCE * BLOCK_BYTES)
        self._is_packed = packing.is_worth_it(plain, len(data))
        return plain

    async def _check(self, digest: str) -> None:
        """Compare the file with what it was; `digest` is of all that was read, or empty."""
        if digest and self._info.sha256:
            is_same = digest == self._info.sha256
        else:
            now = await file_script.look(self._hub, self._guest, self._path)
            is_same = (now.version, now.size_bytes) == (self._info.version, self._info.size_bytes)
        if not is_same:
            raise errors.OutputDamaged(_CHANGED)


async def archive(
    hub: Hub, guest: GuestRef, folder: str, *, is_packed: bool, limit_bytes: int
) -> AsyncGenerator[bytes]:
    """Yield a folder as a tar archive; the guest's tar waits for a slow reader.

    Raises FileMissing, NotAFolder, FileRefused, FileTooLarge.
    """
    request = guest_scripts.request(
        "files",
        *("pack", folder, "1" if is_packed else "0"),
        timeout_seconds=_ARCHIVE_SECONDS,
        flows=True,
    )
    execution = await hub.start(guest, request)
    size = 0
    try:
        async for event in execution.follow():
            size += len(event.data)
            if size > limit_bytes:
                raise errors.FileTooLarge
            if event.kind is EventKind.STDOUT:
                yield event.data
            if event.error is not None:
                raise event.error
            if event.result is not None:
                file_script.checked(event.result)
    finally:
        execution.cancel()


async def whole(data: bytes, first: int, size: int) -> AsyncIterator[bytes]:
    """Yield a part of data that is there."""
    if size:
        yield data[first : first + size]
