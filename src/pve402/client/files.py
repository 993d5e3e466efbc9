"""Copy files into and out of a container, checked by SHA-256.

async with client.Client("https://rent.example.com", token="...") as service:
    await client.files.put_file(service, "10001", Path("site.tar.gz"), "/root/site.tar.gz")
"""

import asyncio
import base64
import contextlib
import hashlib
import io
import os
import re
import secrets
import select
import stat
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from pve402 import schemas
from pve402.client import entries, errors, threads, transport
from pve402.client.client import Client

#: The service refuses larger files in both directions.
LARGEST_FILE_BYTES: Final = 1024**3
#: Told how many bytes have passed, of how many if that is known.
Progress = Callable[[int, int | None], None]

_CHUNK_BYTES: Final = 64 * 1024
_FILE_TYPES: Final = {"application/octet-stream", "application/x-tar", "application/gzip"}
_PIPE_MODE: Final = 0o644
_STDIN: Final = Path("/dev/stdin")
_UNPROCESSABLE: Final = 422
_SHA256: Final = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:([A-Za-z0-9+/=]+):", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What to upload: the first bytes of an open file, which may grow meanwhile."""

    file: io.FileIO | IO[bytes]
    size_bytes: int
    digest: bytes
    mode: int

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the bytes, and zeros in place of those that have been cut off meanwhile."""
        left = self.size_bytes
        await asyncio.to_thread(self.file.seek, 0)
        while left:
            size = min(left, _CHUNK_BYTES)
            piece = await asyncio.to_thread(self.file.read, size) or bytes(size)
            left -= len(piece)
            yield piece

    def has_changed(self) -> bool:
        """Whether the bytes are others than at first; reads all of them."""
        self.file.seek(0)
        return _copied(self.file, self.size_bytes)[0] != self.digest


async def put_file(
    service: Client,
    ctid: str,
    local: Path,
    remote: str,
    *,
    mode: int | None = None,
    on_progress: Progress | None = None,
) -> schemas.FileAnswer:
    """Copy a file into a container, keeping its permissions unless `mode` is given.

    Of a file that grows, what was there at first is copied. What has no size, such as a pipe or a
    file of /proc, is copied to a temporary file first; what is no file gets 0644. `/dev/stdin` is
    read from where this process has come to.
    Raises FileDamaged for a file that was changed meanwhile, FileTooLarge, OSError for the local
    file, Refused, ServiceUnreachable, KeyNeeded.
    """
    async with opened(local) as source:
        permissions = source.mode if mode is None else mode
        query = entries.query(path=remote, mode=f"{permissions:04o}")
        try:
            return await send(service, ctid, f"files/{ctid}{query}", source, on_progress)
        except errors.Refused as refusal:
            if refusal.status == _UNPROCESSABLE and await asyncio.to_thread(source.has_changed):
                raise errors.FileDamaged(
                    f"{errors.plain(local)} changed while it was read"
                ) from refusal
            raise


async def send(
    service: Client, ctid: str, target: str, source: Source, on_progress: Progress | None
) -> schemas.FileAnswer:
    """Send a source to a route that takes uploads, with its checksum. Raises as `put_file`."""
    headers = {
        "Content-Length": str(source.size_bytes),
        "Content-Digest": f"sha-256=:{base64.b64encode(source.digest).decode()}:",
    }
    path = f"/management/{target}"

    def body() -> AsyncIterator[bytes]:
        return _told(source.pieces(), source.size_bytes, on_progress)

    async with service.opened("PUT", path, ctid, body=body, headers=headers) as answer:
        return transport.read(await transport.read_reply(answer), schemas.FileAnswer)


async def get_file(
    service: Client,
    ctid: str,
    remote: str,
    local: Path,
    *,
    most_bytes: int = LARGEST_FILE_BYTES,
    on_progress: Progress | None = None,
) -> int:
    """Copy a file out of a container; the local file appears whole or not at all.

    Devices and pipes are written to directly. Returns the size in bytes. Raises FileDamaged,
    FileTooLarge, OSError for the local file, Refused, ServiceUnreachable, KeyNeeded.
    """
    incoming = read_file(service, ctid, remote, most_bytes=most_bytes, on_progress=on_progress)
    if _is_stream(local):
        with await threads.run(local.open, "wb") as file:
            return await _save(incoming, file)
    with _partial(local) as file:
        return await _save(incoming, file)


async def read_file(
    service: Client,
    ctid: str,
    remote: str,
    *,
    most_bytes: int = LARGEST_FILE_BYTES,
    on_progress: Progress | None = None,
) -> AsyncGenerator[bytes]:
    """Yield a container's file in pieces; they are valid only if no error follows.

    Raises as `get_file`.
    """
    target = f"files/{ctid}{entries.query(path=remote)}"
    reading = receive(service, ctid, target, remote, most_bytes, on_progress)
    async with aclosing(reading):
        async for chunk in reading:
            yield chunk


async def receive(
    service: Client,
    ctid: str,
    target: str,
    name: str,
    most_bytes: int,
    on_progress: Progress | None,
) -> AsyncGenerator[bytes]:
    """Yield the answer of a route that sends a file of this name. Raises as `get_file`."""
    digest, size = hashlib.sha256(), 0
    async with service.opened("GET", f"/management/{target}", ctid) as answer:
        if answer.content_type not in _FILE_TYPES:
            raise errors.UnexpectedAnswer("the answer is not a file; is the address right?")
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            size += len(chunk)
            if size > most_bytes:
                raise errors.FileTooLarge(f"{errors.plain(name)} is larger than {most_bytes} bytes")
            digest.update(chunk)
            if on_progress is not None:
                on_progress(size, answer.content_length)
            yield chunk
        expected = _SHA256.search(answer.headers.get("Repr-Digest", ""))
    if expected and expected[1] != base64.b64encode(digest.digest()).decode():
        raise errors.FileDamaged(
            f"{errors.plain(name)} changed while it was read, or was damaged on the way"
        )


async def _told(
    pieces: AsyncGenerator[bytes], size_bytes: int, on_progress: Progress | None
) -> AsyncIterator[bytes]:
    sent = 0
    async for piece in pieces:
        yield piece
        sent += len(piece)
        if on_progress is not None:
            on_progress(sent, size_bytes)


async def _save(incoming: AsyncGenerator[bytes], file: IO[bytes]) -> int:
    size = 0
    async with aclosing(incoming):
        async for chunk in incoming:
            size += await threads.run(file.write, chunk)
    return size


@contextlib.contextmanager
def _partial(local: Path) -> Iterator[IO[bytes]]:
    """Open a new file that replaces the local one if the block succeeds."""
    target = local.resolve()
    partial = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def opened(local: Path) -> AsyncIterator[Source]:
    """Open a local file, and copy it if it has no size or can be read only once."""
    with contextlib.ExitStack() as opened:
        file: io.FileIO | IO[bytes] = opened.enter_context(await threads.run(_open, local))
        found = os.fstat(file.fileno())
        is_file = stat.S_ISREG(found.st_mode)
        mode = stat.S_IMODE(found.st_mode) & 0o777 if is_file else _PIPE_MODE
        try:
            if is_file and found.st_size and local != _STDIN:
                most_bytes = min(found.st_size, LARGEST_FILE_BYTES + 1)
                digest, size = await threads.run(_copied, file, most_bytes)
            else:
                kept = opened.enter_context(tempfile.TemporaryFile(prefix="pve402-"))
                digest, size = await threads.run(_copied, file, LARGEST_FILE_BYTES + 1, kept)
                file = kept
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(local)) from error
        if size > LARGEST_FILE_BYTES:
            raise _too_large(local)
        yield Source(file=file, digest=digest, size_bytes=size, mode=mode)


def _open(local: Path) -> io.FileIO:
    """Open a file unbuffered; opened by its name, stdin would begin anew, or not open at all."""
    if local == _STDIN:
        return open(0, "rb", buffering=0, closefd=False)
    return local.open("rb", buffering=0)


def _copied(
    file: io.FileIO | IO[bytes], most_bytes: int, to: IO[bytes] | None = None
) -> tuple[bytes, int]:
    """Read, and copy, up to so many bytes. Returns their SHA-256 and how many there were."""
    digest, size = hashlib.sha256(), 0
    while size < most_bytes:
        piece = file.read(min(_CHUNK_BYTES, most_bytes - size))
        if piece is None:  # nothing is there yet, and whoever gave us stdin does not wait
            select.select([file], [], [])
            continue
        if not piece:
            break
        size += len(piece)
        digest.update(piece)
        if to is not None:
            to.write(piece)
    return digest.digest(), size


def _is_stream(file: Path) -> bool:
    """Whether the file is a pipe, a device or a socket."""
    return file.exists() and not file.is_file() and not file.is_dir()


def _too_large(file: Path) -> errors.FileTooLarge:
    return errors.FileTooLarge(f"{errors.plain(file)} is larger than {LARGEST_FILE_BYTES} bytes")
