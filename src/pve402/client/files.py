"""Copy files into and out of a container, checked by SHA-256.

async with client.Client("https://rent.example.com", token="...") as service:
    await client.files.put_file(service, "10001", Path("site.tar.gz"), "/root/site.tar.gz")
"""

import base64
import contextlib
import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlencode

from pve402 import schemas
from pve402.client import errors, threads, transport
from pve402.client.client import Client

#: The service refuses larger files in both directions.
LARGEST_FILE_BYTES: Final = 1024**3
_CHUNK_BYTES: Final = 64 * 1024
_PIPE_MODE: Final = 0o644
_SHA256: Final = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:([A-Za-z0-9+/=]+):", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class _Source:
    """The file to upload; it does not change while it is read."""

    path: Path
    digest: bytes
    mode: int


async def put_file(
    service: Client, ctid: str, local: Path, remote: str, *, mode: int | None = None
) -> schemas.FileAnswer:
    """Copy a file into a container, keeping its permissions unless `mode` is given.

    A file that can be read only once, such as a pipe, is copied to a temporary file first and
    gets 0644.
    Raises FileTooLarge, OSError for the local file, Refused, ServiceUnreachable, KeyNeeded.
    """
    async with _source(local) as source:
        permissions = source.mode if mode is None else mode
        query = urlencode({"path": remote, "mode": f"{permissions:04o}"})
        async with service.opened(
            "PUT",
            f"/management/files/{ctid}?{query}",
            ctid,
            body=lambda: source.path.open("rb"),
            headers={"Content-Digest": f"sha-256=:{base64.b64encode(source.digest).decode()}:"},
        ) as answer:
            return transport.read(await transport.read_reply(answer), schemas.FileAnswer)


async def get_file(
    service: Client,
    ctid: str,
    remote: str,
    local: Path,
    *,
    most_bytes: int = LARGEST_FILE_BYTES,
) -> int:
    """Copy a file out of a container; the local file appears whole or not at all.

    Devices and pipes are written to directly. Returns the size in bytes. Raises FileDamaged,
    FileTooLarge, OSError for the local file, Refused, ServiceUnreachable, KeyNeeded.
    """
    incoming = read_file(service, ctid, remote, most_bytes=most_bytes)
    if _is_stream(local):
        with await threads.run(local.open, "wb") as file:
            return await _save(incoming, file)
    with _partial(local) as file:
        return await _save(incoming, file)


async def read_file(
    service: Client, ctid: str, remote: str, *, most_bytes: int = LARGEST_FILE_BYTES
) -> AsyncGenerator[bytes]:
    """Yield a container's file in pieces; they are valid only if no error follows.

    Raises as `get_file`.
    """
    digest, size = hashlib.sha256(), 0
    path = f"/management/files/{ctid}?{urlencode({'path': remote})}"
    async with service.opened("GET", path, ctid) as answer:
        if answer.content_type != "application/octet-stream":
            raise errors.UnexpectedAnswer("the answer is not a file; is the address right?")
        async for chunk in answer.content.iter_chunked(_CHUNK_BYTES):
            size += len(chunk)
            if size > most_bytes:
                raise errors.FileTooLarge(
                    f"{errors.plain(remote)} is larger than {most_bytes} bytes"
                )
            digest.update(chunk)
            yield chunk
        expected = _SHA256.search(answer.headers.get("Repr-Digest", ""))
    if expected and expected[1] != base64.b64encode(digest.digest()).decode():
        raise errors.FileDamaged(
            f"{errors.plain(remote)} changed while it was read, or was damaged on the way"
        )


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
async def _source(local: Path) -> AsyncIterator[_Source]:
    """Open a local file, after copying it if it can be read only once."""
    if not _is_stream(local):
        yield await threads.run(_look_at, local)
        return
    with tempfile.NamedTemporaryFile(prefix="pve402-") as kept:
        digest_kept = await threads.run(_keep, local, kept)
        yield _Source(path=Path(kept.name), digest=digest_kept, mode=_PIPE_MODE)


def _is_stream(file: Path) -> bool:
    """Whether the file is a pipe, a device or a socket."""
    return file.exists() and not file.is_file() and not file.is_dir()


def _look_at(file: Path) -> _Source:
    with file.open("rb") as opened:
        found = os.fstat(opened.fileno())
        if found.st_size > LARGEST_FILE_BYTES:
            raise _too_large(file)
        digest = hashlib.file_digest(opened, "sha256").digest()
        return _Source(path=file, digest=digest, mode=found.st_mode & 0o777)


def _keep(pipe: Path, kept: IO[bytes]) -> bytes:
    """Copy a pipe to its end. Returns the SHA-256."""
    digest, left = hashlib.sha256(), LARGEST_FILE_BYTES
    with pipe.open("rb", buffering=0) as opened:
        while chunk := opened.read(_CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise _too_large(pipe)
            digest.update(chunk)
            kept.write(chunk)
    kept.flush()
    return digest.digest()


def _too_large(file: Path) -> errors.FileTooLarge:
    return errors.FileTooLarge(f"{errors.plain(file)} is larger than {LARGEST_FILE_BYTES} bytes")
