"""Open consoles and calls in guests; they end with their lease or the token that opened them.

A visit of a published port also ends when the port is published no more, or for others.

Another replica may have ended either, so we check both regularly. A short call is over before
the first check. While something is open its lease is in use, which we write then.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime

import structlog
from typing_extensions import override

from pve402.domain import errors, idling, lease, published
from pve402.hub import errors as hub_errors
from pve402.leases import moves
from pve402.storage import console_rows, database, port_rows

log = structlog.get_logger(__name__)

_REVOKED = "token_revoked"
_UNPUBLISHED = "unpublished"
_SUSPENDED = errors.LeaseSuspended.code


class TokenRevoked(errors.Unauthenticated):
    """The token that opened this was revoked or has expired."""

    detail = "The token that opened this was revoked or has expired."
    code = _REVOKED


class Opened:
    """Something open: what it depends on, when its lease ends, and whether it must end now."""

    def __init__(
        self,
        row: lease.Lease,
        token_hash: str | None,
        port: published.PublishedPort | None = None,
        *,
        is_forwarded: bool = False,
    ) -> None:
        self.lease_id = row.lease_id
        #: Hash of the token its holder used, if any.
        self.token_hash = token_hash
        #: The published port that it visits, if any, as it was published then.
        self.port = port
        #: Whether the replica that the client reached has it open, too, and notes the use.
        self.is_forwarded = is_forwarded
        self.expires_at = row.expires_at
        #: Why it must end; empty while it may stay open.
        self.end_reason = ""
        self._changed = asyncio.Event()

    async def changed(self) -> None:
        """Wait until `expires_at` or `end_reason` changes."""
        await self._changed.wait()
        self._changed.clear()

    def end(self, reason: str) -> None:
        """Mark it to be ended."""
        self.end_reason = self.end_reason or reason
        self._changed.set()

    def extend(self, expires_at: datetime | None) -> None:
        """Record a new end of the lease."""
        if expires_at != self.expires_at:
            self.expires_at = expires_at
            self._changed.set()


class OpenCall(Opened):
    """A long call into a guest: a command, a stream of events, a file, a visit of a port."""

    _limit: asyncio.Timeout | None = None

    @contextlib.asynccontextmanager
    async def lasting(self) -> AsyncIterator[None]:
        """Cancel the block when the call must end.

        Raises TokenRevoked, PortNotPublished, LeaseSuspended, or GuestClosed if the lease has
        ended.
        """
        limit = asyncio.timeout(0 if self.end_reason else None)
        try:
            async with limit:
                self._limit = limit
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._refusal() from None
        finally:
            self._limit = None

    @override
    def end(self, reason: str) -> None:
        if self._limit is not None and not self.end_reason:
            self._limit.reschedule(asyncio.get_running_loop().time())
        super().end(reason)

    def _refusal(self) -> errors.Pve402Error:
        if self.end_reason == _UNPUBLISHED:
            return published.PortNotPublished()
        if self.end_reason == _SUSPENDED:
            return errors.LeaseSuspended()
        return TokenRevoked() if self.end_reason == _REVOKED else hub_errors.GuestClosed()


class OpenCalls:
    """Checks the leases and tokens of everything open, every `seconds`."""

    def __init__(self, db: database.Database, seconds: float) -> None:
        self._db = db
        self._seconds = seconds
        self._opened: set[Opened] = set()
        self._looking: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def track(self, opened: Opened) -> Iterator[None]:
        """Track `opened` during the block, and end it when it must end."""
        self._opened.add(opened)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_for_ever())
        try:
            yield
        finally:
            self._opened.discard(opened)

    async def close(self) -> None:
        """Stop checking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
            self._looking = None

    async def _look_for_ever(self) -> None:
        """Check forever; an unavailable database changes nothing."""
        while True:
            await asyncio.sleep(self._seconds)
            try:
                await self._look()
            except errors.DatabaseUnavailable:
                continue
            except Exception:  # a bug of ours must not leave everything open forever
                log.exception("open_calls_not_checked")

    async def _look(self) -> None:
        if not self._opened:
            return
        opened = tuple(self._opened)
        lease_ids = list({each.lease_id for each in opened})
        tokens = list({each.token_hash for each in opened if each.token_hash})
        visited = list({each.lease_id for each in opened if each.port is not None})
        async with self._db.read() as tx:
            standings = await console_rows.standings(tx, lease_ids)
            valid = await console_rows.valid_tokens(self._db, tx, tokens)
            ports = await port_rows.of_leases(self._db, tx, visited) if visited else []
            now = await self._db.time_in(tx)
        still = {_key(port) for port in ports}
        for each in opened:
            standing = standings.get(each.lease_id)
            if standing is None or not lease.is_usable(standing.status, standing.expires_at, now):
                each.end((standing and standing.end_reason) or "expired")
            elif standing.suspended_at is not None:
                each.end(_SUSPENDED)
            elif each.token_hash and each.token_hash not in valid:
                each.end(_REVOKED)
            elif each.port is not None and _key(each.port) not in still:
                each.end(_UNPUBLISHED)
            else:
                each.extend(standing.expires_at)
        await self._note_use(opened, standings, now)

    async def _note_use(
        self,
        opened: Sequence[Opened],
        standings: Mapping[str, console_rows.Standing],
        now: datetime,
    ) -> None:
        """Write now and then that leases are in use that would be paused if they were idle."""
        used = {each.lease_id for each in opened if not (each.is_forwarded or each.end_reason)}
        noted = [
            lease_id
            for lease_id in used
            if (active_at := standings[lease_id].active_at) is not None
            and not idling.is_noted(active_at, now)
        ]
        if noted:
            async with self._db.single() as tx:
                await moves.note_uses(self._db, tx, noted)


def _key(port: published.PublishedPort) -> tuple[object, ...]:
    """What must not change while somebody visits a port."""
    return port.lease_id, port.port, port.access, port.created_at
