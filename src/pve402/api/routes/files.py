"""Streams files into and out of containers."""

import asyncio
import base64
import binascii
import dataclasses
import re
import time
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pve402 import schemas
from pve402.api import context, visit
from pve402.api.guest_call import GuestCall
from pve402.api.messages import reply
from pve402.api.openapi import operations
from pve402.api.transport import body, conditions, guard, pace, routing
from pve402.domain import errors
from pve402.guests import pulls
from pve402.hub import errors as hub_errors
from pve402.hub import files

router = routing.Router("files")

MAX_FILE_BYTES: Final = 1024 * 1024 * 1024

_WRITE: Final = visit.streaming("files", "Write a file in a container")
_READ: Final = visit.Door(scope="files", description="Read a file in a container")
_MODE: Final = re.compile(r"0?[0-7]{3,4}")
_DIGEST: Final = re.compile(r"sha-256=:?([A-Za-z0-9+/]{43}=):?", re.IGNORECASE)
_DIGEST_HEADERS: Final = ("content-digest", "repr-digest", "digest")
_IDLE_SECONDS: Final = 60.0
_PATIENCE_SECONDS: Final = 120.0  # plus the time that the bytes so far take at this rate
_SLOWEST_BYTES_PER_SECOND: Final = 4096


@router.put("/management/files/{ctid}", **operations.file_written())
async def write_file(request: Request) -> Response:
    """Write the body, at most 1 GiB, to a file in the container.

    The file appears whole or not at all. With `Content-Digest`, its checksum must match.
    """
    return await visit.enter(request, _WRITE, _read_upload, _write)


@router.get("/management/files/{ctid}", **operations.file_read())
async def read_file(request: Request) -> Response:
    """Read a file of at most 1 GiB in the container."""
    return await visit.enter(request, _READ, _path, _read)


@router.get(f"{pulls.PATH}{{token}}", **operations.pull())
async def fetch_upload(request: Request) -> Response:
    """Answer with an upload that waits for its container, once; only containers are told of it."""
    link = context.of(request).work.pulls.take(request.path_params["token"])
    guard.hold(request, visit.LONG_SECONDS, link.lease_id)
    headers = {"content-length": str(link.size_bytes), "cache-control": "no-store"}
    return StreamingResponse(_whole(link), media_type="application/octet-stream", headers=headers)


async def _whole(link: pulls.Link) -> AsyncIterator[bytes]:
    """Yield an upload. Raises NotRead, and so cuts the answer off, if it is not whole."""
    left = link.size_bytes
    async for chunk in link.paced():
        left -= len(chunk)
        if left < 0:
            break
        yield chunk
    if left:
        raise pace.NotRead


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Upload:
    """A file to write."""

    path: str
    mode: int | None
    sha256: str
    size_bytes: int  # 0 if it was not announced


def _read_upload(request: Request, _raw: bytes) -> _Upload:
    conditions.refuse_partial_or_encoded(request)
    conditions.are_asked_for(request)
    announced = request.headers.get("content-length", "")
    is_number = announced.isascii() and announced.isdigit()
    size_bytes = int(announced[:18]) if is_number else 0
    if size_bytes > MAX_FILE_BYTES:
        raise hub_errors.FileTooLarge
    mode = request.query_params.get("mode")
    if mode is not None and not _MODE.fullmatch(mode):
        raise errors.InvalidRequest("mode must be octal permissions such as 0644")
    return _Upload(
        path=_path(request, b""),
        mode=None if mode is None else int(mode, 8),
        sha256=_expected(request),
        size_bytes=size_bytes,
    )


def _path(request: Request, _raw: bytes) -> str:
    path = _query_path(request)
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise errors.InvalidRequest("path must be the absolute path of a file")
    if len(path.encode("utf-8", "surrogateescape")) > 4096:
        raise errors.InvalidRequest("path must be at most 4,096 bytes long")
    return path


def _query_path(request: Request) -> str:
    """The exact path from the query. Raises InvalidRequest if it is not UTF-8."""
    try:
        query: str = request.scope["query_string"].decode("utf-8")
        given = parse_qs(query, keep_blank_values=True, errors="strict").get("path", [""])
    except UnicodeDecodeError:
        raise errors.InvalidRequest("path must be UTF-8, percent-encoded") from None
    if len(given) > 1:
        raise errors.InvalidRequest("path must be given once")
    return given[0]


def _expected(request: Request) -> str:
    """The client's checksum of the body, in hexadecimal; empty if it gave none."""
    given = [request.headers.get(name, "") for name in _DIGEST_HEADERS]
    found = {_digest(text) for text in given if text}
    if len(found) > 1:
        raise errors.InvalidRequest("the digests given are not of one file")
    return found.pop() if found else ""


def _digest(text: str) -> str:
    found = _DIGEST.search(text)
    if found is None:
        raise errors.InvalidRequest("Content-Digest must be sha-256=:BASE64:")
    try:
        return base64.b64decode(found[1], validate=True).hex()
    except binascii.Error:
        raise errors.InvalidRequest("Content-Digest must be sha-256=:BASE64:") from None


async def _write(call: GuestCall, upload: _Upload) -> Response:
    is_conditional = conditions.are_asked_for(call.request)

    def check(found: files.FileInfo | None) -> None:
        etag = None if found is None else _checksums(found).get("etag", "")
        conditions.check_write(call.request, etag)

    began_at = time.monotonic()
    with call.work.pulls.offered(call.guest, call.lease.lease_id, upload.size_bytes) as link:
        written = await call.work.files.put_file(
            call.guest,
            upload.path,
            _chunks(call.request),
            mode=upload.mode,
            limit_bytes=MAX_FILE_BYTES,
            sha256=upload.sha256,
            check=check if is_conditional else None,
            link=link,
        )
    seconds = max(time.monotonic() - began_at, 0.001)
    answer = schemas.FileAnswer(
        ctid=call.lease.ctid,
        path=upload.path,
        size_bytes=written.size_bytes,
        mode=_mode_text(written),
        sha256=written.sha256 or None,
        via="network" if link is not None and link.is_used else "terminal",
        bytes_per_second=round(written.size_bytes / seconds),
    )
    response = reply.respond(answer)
    response.headers.update(_checksums(written))
    return response


async def _read(call: GuestCall, path: str) -> Response:
    download = await call.work.files.get_file(call.guest, path, limit_bytes=MAX_FILE_BYTES)
    headers = _checksums(download.info)
    if conditions.check_read(call.request, headers.get("etag", "")):
        return Response(status_code=304, headers=headers)
    headers["content-length"] = str(download.info.size_bytes)
    mode = _mode_text(download.info)
    if mode is not None:
        headers["pve402-file-mode"] = mode
    return StreamingResponse(
        download.chunks, media_type="application/octet-stream", headers=headers
    )


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; give up on a client that sends too slowly."""
    stream, patience_seconds = request.stream(), _PATIENCE_SECONDS
    while True:
        began_at = time.monotonic()
        try:
            async with asyncio.timeout(min(patience_seconds, _IDLE_SECONDS)):
                chunk = await anext(stream, None)
        except TimeoutError:
            raise body.BodyTooSlow from None
        if chunk is None:
            return
        if chunk:
            patience_seconds += len(chunk) / _SLOWEST_BYTES_PER_SECOND
            patience_seconds -= time.monotonic() - began_at
            yield chunk


def _checksums(info: files.FileInfo) -> dict[str, str]:
    if not info.sha256:
        return {}
    code = base64.b64encode(bytes.fromhex(info.sha256)).decode()
    return {"etag": f'"{info.sha256}"', "repr-digest": f"sha-256=:{code}:"}


def _mode_text(info: files.FileInfo) -> str | None:
    return None if info.mode is None else f"{info.mode:04o}"
