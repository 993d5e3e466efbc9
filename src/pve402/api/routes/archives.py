"""Folders of containers as archives, packed and unpacked by the container's own tar."""

import dataclasses
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pve402.api import visit
from pve402.api.guest_call import GuestCall
from pve402.api.messages import files as messages
from pve402.api.openapi import operations
from pve402.api.transport import conditions, queries, routing, uploading
from pve402.domain import errors

router = routing.Router("archives")

_PACK: Final = visit.Door(scope="files", description="Read a folder in a container")
_UNPACK: Final = visit.streaming("files", "Write a folder in a container")
_TYPES: Final = {"tar": "application/x-tar", "tar.gz": "application/gzip"}


@router.get("/management/archives/{ctid}", **operations.folder_packed())
async def read_folder(request: Request) -> Response:
    """Read a folder in the container as a tar archive of at most 1 GiB."""
    return await visit.enter(request, _PACK, _Packing.read, _pack)


@router.put("/management/archives/{ctid}", **operations.folder_unpacked())
async def write_folder(request: Request) -> Response:
    """Unpack the body, a tar archive of at most 1 GiB, into a folder in the container.

    Nothing is unpacked before the archive has arrived complete.
    """
    return await visit.enter(request, _UNPACK, _Unpacking.read, _unpack)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Packing:
    """A folder to read."""

    folder: str
    format: str

    @classmethod
    def read(cls, request: Request, _raw: bytes) -> "_Packing":
        chosen = queries.field(request, "format") or "tar"
        if chosen not in _TYPES:
            raise errors.InvalidRequest("format must be tar or tar.gz")
        return cls(folder=queries.folder_path(request), format=chosen)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Unpacking:
    """A folder to write into."""

    folder: str
    sha256: str
    size_bytes: int  # 0 if it was not announced

    @classmethod
    def read(cls, request: Request, _raw: bytes) -> "_Unpacking":
        conditions.refuse_partial_or_encoded(request)
        conditions.refuse_preconditions(request)
        return cls(
            folder=queries.folder_path(request),
            sha256=uploading.expected_digest(request),
            size_bytes=uploading.announced_bytes(request),
        )


async def _pack(call: GuestCall, wish: _Packing) -> Response:
    chunks = await call.work.files.get_archive(
        call.guest,
        wish.folder,
        is_packed=wish.format == "tar.gz",
        limit_bytes=uploading.MAX_FILE_BYTES,
    )
    return StreamingResponse(chunks, media_type=_TYPES[wish.format])


async def _unpack(call: GuestCall, wish: _Unpacking) -> Response:
    arrival = messages.Arrival()
    with call.offered(wish.size_bytes) as link:
        written = await call.work.files.put_archive(
            call.guest,
            wish.folder,
            call.paced(uploading.chunks(call.request)),
            limit_bytes=uploading.MAX_FILE_BYTES,
            sha256=wish.sha256,
            link=link,
        )
    return arrival.answer(call.lease, wish.folder, written, link)
