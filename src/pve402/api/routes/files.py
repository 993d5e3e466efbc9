"""Streams files into and out of containers."""

import dataclasses
import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pve402.api import visit
from pve402.api.guest_call import GuestCall
from pve402.api.messages import files as messages
from pve402.api.openapi import operations
from pve402.api.transport import conditions, queries, ranges, routing, uploading
from pve402.domain import errors
from pve402.hub import files

router = routing.Router("files")

_WRITE: Final = visit.streaming("files", "Write a file in a container")
_READ: Final = visit.Door(scope="files", description="Read a file in a container")
_MODE: Final = re.compile(r"0?[0-7]{3,4}")
#: Headers for which even a large file is read twice, to know its checksum.
_NEEDS_CHECKSUM: Final = ("if-match", "if-none-match", "if-range", "want-repr-digest")


@router.put("/management/files/{ctid}", **operations.file_written())
async def write_file(request: Request) -> Response:
    """Write the body, at most 1 GiB, to a file in the container.

    The file appears whole or not at all. With `Content-Digest`, its checksum must match.
    """
    return await visit.enter(request, _WRITE, _read_upload, _write)


@router.get("/management/files/{ctid}", **operations.file_read())
async def read_file(request: Request) -> Response:
    """Read a file of at most 1 GiB in the container, or a range of its bytes."""
    return await visit.enter(request, _READ, lambda asked, _: queries.file_path(asked), _read)


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
    size_bytes = uploading.announced_bytes(request)
    mode = request.query_params.get("mode")
    if mode is not None and not _MODE.fullmatch(mode):
        raise errors.InvalidRequest("mode must be octal permissions such as 0644")
    return _Upload(
        path=queries.file_path(request),
        mode=None if mode is None else int(mode, 8),
        sha256=uploading.expected_digest(request),
        size_bytes=size_bytes,
    )


async def _write(call: GuestCall, upload: _Upload) -> Response:
    is_conditional = conditions.are_asked_for(call.request)

    def check(found: files.FileInfo | None) -> None:
        etag = None if found is None else messages.checksums(found).get("etag", "")
        conditions.check_write(call.request, etag)

    arrival = messages.Arrival()
    with call.offered(upload.size_bytes) as link:
        written = await call.work.files.put_file(
            call.guest,
            upload.path,
            call.paced(uploading.chunks(call.request)),
            mode=upload.mode,
            limit_bytes=uploading.MAX_FILE_BYTES,
            sha256=upload.sha256,
            check=check if is_conditional else None,
            link=link,
        )
    response = arrival.answer(call.lease, upload.path, written, link)
    response.headers.update(messages.checksums(written))
    return response


async def _read(call: GuestCall, path: str) -> Response:
    download = await call.work.files.get_file(
        call.guest,
        path,
        limit_bytes=uploading.MAX_FILE_BYTES,
        is_summed=any(name in call.request.headers for name in _NEEDS_CHECKSUM),
    )
    headers = messages.checksums(download.info)
    if conditions.check_read(call.request, headers.get("etag", "")):
        return Response(status_code=304, headers=headers)
    size_bytes = download.info.size_bytes
    part = ranges.asked(call.request, size_bytes, headers.get("etag", ""))
    chunks = download.chunks if part is None else download.part(part.first, part.size)
    headers["accept-ranges"] = "bytes"
    headers["content-length"] = str(size_bytes if part is None else part.size)
    if part is not None:
        headers["content-range"] = part.content_range
    mode = messages.mode_text(download.info)
    if mode is not None:
        headers["pve402-file-mode"] = mode
    return StreamingResponse(
        chunks,
        200 if part is None else 206,
        media_type="application/octet-stream",
        headers=headers,
    )
