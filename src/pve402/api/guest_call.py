"""An authorized call into a guest, run here or at the replica that holds its terminal."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Final

from starlette.requests import HTTPConnection, Request
from starlette.types import Scope

from pve402.api.transport import sse
from pve402.domain import networks
from pve402.domain.lease import Lease
from pve402.guests import guest_work, pulls
from pve402.proxmox.guests import GuestRef

_PEER_LEASE: Final = "pve402.peer_lease"


@dataclasses.dataclass(frozen=True, kw_only=True)
class GuestCall:
    """The request, its lease, and the service that reaches guests."""

    request: Request
    lease: Lease
    work: guest_work.GuestWork
    body: bytes | None = None  # None if the body is streamed
    exec_id: str = ""  # of the command that this call starts, if any

    @property
    def guest(self) -> GuestRef:
        """The lease's guest."""
        return guest_work.ref(self.lease)

    def offered(self, size_bytes: int) -> AbstractContextManager[pulls.Link | None]:
        """A link from which the container can fetch an upload of this size, for the block."""
        is_connected = self.lease.link is networks.Link.READY
        return self.work.pulls.offered(
            self.guest, self.lease.lease_id, size_bytes, is_connected=is_connected
        )

    async def pace(self, size: int) -> None:
        """Wait until the lease may move so many bytes."""
        await self.work.rates.of(self.lease)(size)

    async def paced(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield an upload's bytes no faster than the lease may move them."""
        async for chunk in chunks:
            await self.pace(len(chunk))
            yield chunk

    @property
    def followed_id(self) -> str:
        """The id of the command whose events we send."""
        resumed = sse.last_event(self.request)
        named: str = self.request.path_params.get("execId", "")
        return named or (resumed[0] if resumed else self.exec_id)

    @property
    def target(self) -> str:
        """Path and query as received; the lease is passed separately."""
        query = self.request.scope["query_string"].decode("latin-1")
        path = self.request.scope["raw_path"].decode("latin-1")
        return f"{path}?{query}" if query else path


def mark_as_peer_call(scope: Scope, lease_id: str) -> None:
    """Mark a call that a peer has already admitted for a lease."""
    scope[_PEER_LEASE] = lease_id


def lease_of_peer_call(request: HTTPConnection) -> str | None:
    """Return the leaseId of a peer's call; None for any other call."""
    found = request.scope.get(_PEER_LEASE)
    return found if isinstance(found, str) else None
