"""Files of a sandbox over HTTP: downloads and uploads, by token or by a signed address."""

import contextlib
import re
import tempfile
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import IO, Any, Final

from aiohttp import BodyPartReader, http, web

from pve402 import client
from pve402.client import threads
from pve402.e2b import door, guests, refusals

#: Up to here one command writes a file; base64 in its stdin must fit.
_SMALL_BYTES: Final = 512 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_MOST_FILES: Final = 1000
#: Of ENOSPC, in the container's own words.
_NO_SPACE: Final = "No space left"
_INSUFFICIENT_STORAGE: Final = 507
_FILE_NAME: Final = re.compile(r'filename="((?:[^"\\]|\\.)*)"')


async def download(request: web.Request) -> web.StreamResponse:
    """Send a file."""
    guest, person, given = await door.file_of(request, "read")
    path = person.path(given)
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    reading = client.files.read_file(guest.service, guest.lease_id, path)
    async with aclosing(reading):
        first = await _first(reading, path)
        await response.prepare(request)
        if first is not None:
            await response.write(first)
        async for piece in reading:
            await response.write(piece)
    await response.write_eof()
    return response


async def upload(request: web.Request) -> web.Response:
    """Take one file as it is, or several as a form; folders above them are made."""
    try:
        return await _upload(request)
    except (refusals.Refused, client.ClientError) as error:
        if _NO_SPACE not in str(error):
            raise
        return refusals.answer(_INSUFFICIENT_STORAGE, str(error))


async def _upload(request: web.Request) -> web.Response:
    guest, person, given = await door.file_of(request, "write")
    if any(name.lower().startswith("x-metadata-") for name in request.headers):
        raise refusals.Refused("unimplemented", "metadata of files is not offered")
    if request.content_type == "multipart/form-data":
        return web.json_response(await _form(request, guest, person, given))
    pieces = request.content.iter_chunked(_CHUNK_BYTES)
    encoding = request.headers.get("Content-Encoding", "")
    return web.json_response([await _take(guest, person, given, _decoded(pieces, encoding))])


async def _form(
    request: web.Request, guest: guests.Guest, person: guests.Person, given: str
) -> list[dict[str, Any]]:
    taken: list[dict[str, Any]] = []
    async for part in _parts(request):
        if not isinstance(part, BodyPartReader) or part.name != "file":
            continue
        if len(taken) >= _MOST_FILES:
            raise refusals.Refused("resource_exhausted", "there are too many files in one request")
        name = given or _file_name(part)
        encoding = part.headers.get("Content-Encoding", "")
        taken.append(await _take(guest, person, name, _decoded(_pieces(part), encoding)))
    if not taken:
        raise refusals.Refused("invalid_argument", "the form has no file")
    return taken


async def _parts(request: web.Request) -> AsyncGenerator[Any]:
    with _readable():
        parts = await request.multipart()
        while (part := await parts.next()) is not None:
            yield part


def _file_name(part: BodyPartReader) -> str:
    """The name of a part's file; that of aiohttp lacks the slash that an absolute path begins with.

    Browsers' form encoding: only quotes and line ends are escaped. httpx doubles backslashes.
    """
    found = _FILE_NAME.search(part.headers.get("Content-Disposition", ""))
    text = re.sub(r'\\([\\"])', r"\1", found[1]) if found else ""
    return text.replace("%22", '"').replace("%0A", "\n").replace("%0D", "\r")


async def _take(
    guest: guests.Guest, person: guests.Person, given: str, pieces: AsyncIterator[bytes]
) -> dict[str, Any]:
    if not given:
        raise refusals.Refused("invalid_argument", "the file has no path")
    path = person.path(given)
    with _on_disk(), tempfile.TemporaryDirectory(prefix="pve402-") as folder:
        kept = Path(folder) / "file"
        with contextlib.closing(await threads.run(kept.open, "xb")) as file:
            size = await _save(pieces, file)
        if size <= _SMALL_BYTES:
            await guest.write(path, await threads.run(kept.read_bytes), person)
        else:
            await guest.prepare(path, person)
            await client.files.put_file(guest.service, guest.lease_id, kept, path, mode=0o644)
            await guest.own(path, person)
    return {"path": path, "name": path.rpartition("/")[2], "type": "file"}


@contextlib.contextmanager
def _on_disk() -> Iterator[None]:
    """Refuse what this machine has no room for."""
    try:
        yield
    except ConnectionError:
        raise
    except OSError as error:
        told = f"the gateway's machine cannot keep the file: {error.strerror}"
        raise refusals.Refused("resource_exhausted", told) from None


async def _save(pieces: AsyncIterator[bytes], file: IO[bytes]) -> int:
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > client.files.LARGEST_FILE_BYTES:
            raise refusals.Refused("resource_exhausted", "a file is at most 1 GiB")
        await threads.run(file.write, piece)
    return size


async def _first(reading: AsyncGenerator[bytes], path: str) -> bytes | None:
    try:
        return await anext(reading, None)
    except client.refusals.FileMissing:
        raise refusals.Refused(
            "not_found", f"path '{client.plain(path, 200)}' does not exist"
        ) from None


async def _pieces(part: BodyPartReader) -> AsyncGenerator[bytes]:
    with _readable():
        while piece := await part.read_chunk(_CHUNK_BYTES):
            yield piece


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    """Refuse a form that aiohttp cannot read, in its many ways to say so."""
    try:
        yield
    except (AssertionError, RuntimeError, ValueError, http.HttpProcessingError):
        raise refusals.Refused("invalid_argument", "the form cannot be read") from None


async def _decoded(pieces: AsyncIterator[bytes], encoding: str) -> AsyncGenerator[bytes]:
    """Unpack gzip, a piece at a time and never more than that in memory."""
    if encoding.lower() not in {"", "identity", "gzip"}:
        raise refusals.Refused("invalid_argument", "only gzip is unpacked")
    if encoding.lower() != "gzip":
        async for piece in pieces:
            yield piece
        return
    unpacker = zlib.decompressobj(wbits=31)
    try:
        async for piece in pieces:
            if unpacker.eof and piece:
                raise zlib.error("there is more behind its end")
            while piece and not unpacker.eof:
                yield unpacker.decompress(piece, _CHUNK_BYTES)
                piece = unpacker.unconsumed_tail  # noqa: PLW2901 -- the rest of it
        yield unpacker.flush()
        if not unpacker.eof or unpacker.unused_data:
            raise zlib.error("it ends elsewhere")
    except zlib.error:
        raise refusals.Refused("invalid_argument", "the body is not gzip, or not whole") from None
