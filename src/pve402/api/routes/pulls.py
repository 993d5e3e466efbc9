"""Hands uploads to the containers that they are for, over one-time links.

`PVE402_GUEST_BIND` opens a listener for this route alone: it is all that the containers of an
isolated network reach of the service. Any replica may be reached; the one that holds the
container's terminal has the upload.
"""

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pve402.api import context, guest_call, visit
from pve402.api.openapi import operations
from pve402.api.peers import forward
from pve402.api.transport import guard, pace, routing
from pve402.domain import errors
from pve402.guests import guest_work, pulls

router = routing.Router("files")


@router.get(f"{pulls.PATH}{{token}}", **operations.pull())
async def fetch_upload(request: Request) -> Response:
    """Serve an upload to the container that it is for, once; only that container knows the link."""
    token: str = request.path_params["token"]
    lease_id = pulls.lease_of(token)
    caller = guest_call.lease_of_peer_call(request)
    if caller not in {None, lease_id}:
        raise pulls.LinkUnknown
    try:
        link = context.of(request).work.pulls.take(token)
    except pulls.LinkUnknown:
        if caller is not None:
            raise
        return await _from_holder(request, lease_id)
    guard.hold(request, visit.LONG_SECONDS, lease_id)
    headers = {"content-length": str(link.size_bytes), "cache-control": "no-store"}
    return StreamingResponse(_whole(link), media_type="application/octet-stream", headers=headers)


async def _from_holder(request: Request, lease_id: str) -> Response:
    """Pass a link on to the replica that holds the container's terminal, which made it."""
    app = context.of(request)
    try:
        found = await app.leases.find(lease_id)
    except errors.LeaseNotFound:
        raise pulls.LinkUnknown from None
    if app.work.owners is None:
        raise pulls.LinkUnknown
    address = await app.work.owners.address_of_other(guest_work.ref(found))
    if not address:
        raise pulls.LinkUnknown
    guard.hold(request, visit.LONG_SECONDS, lease_id)
    answer = await forward.fetch(app.work, address, request.scope["path"], lease_id)
    if answer is None:
        raise pulls.LinkUnknown
    return answer


async def _whole(link: pulls.Link) -> AsyncIterator[bytes]:
    """Yield an upload. Raises NotRead, and so cuts the answer off, if it is not whole."""
    left = link.size_bytes
    if link.chunks is not None:
        async for chunk in link.chunks:
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
    if left:
        raise pace.NotRead
