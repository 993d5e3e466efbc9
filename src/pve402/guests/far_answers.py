"""Asks the replica that holds a guest's terminal what the guest tells."""

import json
from typing import Any, Final

import aiohttp

from pve402.domain import errors
from pve402.domain.lease import Lease
from pve402.guests import peers, pipes
from pve402.hub import errors as hub_errors

_MOST_ANSWER_BYTES: Final = 1024 * 1024
_NOT_HERE: Final = {401, 421}


async def read(caller: peers.Peers, address: str, row: Lease, path: str) -> Any | None:
    """Return a peer's answer to a GET; None if it is down or does not hold the terminal.

    Raises HubError.
    """
    try:
        reply = await caller.send(address, "GET", path, lease_id=row.lease_id, headers={})
    except peers.PeerUnreachable:
        return None
    except peers.PeerLost:
        raise hub_errors.SessionLost from None
    try:
        if reply.status in _NOT_HERE:
            return None
        document = json.loads(await _whole(reply))
    except (aiohttp.ClientError, OSError, ValueError):
        raise hub_errors.SessionLost from None
    finally:
        reply.close()
    if reply.status != 200:
        raise pipes.refusal_of(str(document.get("code")))
    return document


async def _whole(reply: aiohttp.ClientResponse) -> bytes:
    content = b""
    async for chunk in reply.content.iter_chunked(65_536):
        content += chunk
        if len(content) > _MOST_ANSWER_BYTES:
            raise errors.TryLater
    return content
