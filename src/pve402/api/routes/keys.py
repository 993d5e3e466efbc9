"""SSH keys of a running container."""

from starlette.requests import Request
from starlette.responses import Response

from pve402 import schemas
from pve402.api import visit
from pve402.api.guest_call import GuestCall
from pve402.api.messages import reply
from pve402.api.openapi import operations
from pve402.api.transport import body, routing

router = routing.Router("keys")

_LOOK = visit.Door(scope="exec", description="Show the SSH keys of a container")
_ADD = visit.Door(scope="exec", description="A key for a container", most_bytes=body.MAX_BYTES)
_REMOVE = visit.Door(scope="exec", description="Remove an SSH key from a container")


@router.get("/management/keys/{ctid}", **operations.keys())
async def list_keys(request: Request) -> Response:
    """List the SSH keys that may log in to the container as root, and its host keys."""
    return await visit.enter(request, _LOOK, lambda _request, _raw: None, _list)


@router.post("/management/keys/{ctid}", **operations.keys(schemas.KeyRequest))
async def add_key(request: Request) -> Response:
    """Let an SSH key log in to the container as root; answers with all keys."""
    return await visit.enter(request, _ADD, _key, _add)


@router.delete("/management/keys/{ctid}", **operations.keys(query=["fingerprint"]))
async def remove_key(request: Request) -> Response:
    """Remove an SSH key from the container; answers with the keys that are left."""
    return await visit.enter(request, _REMOVE, _fingerprint, _remove)


def _key(_request: Request, raw: bytes) -> str:
    return body.parse(raw, schemas.KeyRequest).public_key


def _fingerprint(request: Request, _raw: bytes) -> str:
    return request.query_params.get("fingerprint", "")


async def _list(call: GuestCall, _: None) -> Response:
    found = await call.work.ssh_keys.authorized(call.guest)
    items = [
        schemas.KeyItem(fingerprint=key.fingerprint or None, public_key=key.line) for key in found
    ]
    host_keys = await call.work.ssh_keys.host_keys(call.guest)
    return reply.respond(schemas.KeysAnswer(keys=items, host_keys=host_keys))


async def _add(call: GuestCall, line: str) -> Response:
    await call.work.ssh_keys.add(call.guest, line)
    return await _list(call, None)


async def _remove(call: GuestCall, fingerprint: str) -> Response:
    await call.work.ssh_keys.remove(call.guest, fingerprint)
    return await _list(call, None)
