"""Consoles, opened with single-use tickets and closed when their lease ends.

A ticket has 256 random bits, is stored as a hash, and opens one kind of console of one lease,
once. The holder of an open console gets a new ticket in case the connection drops. A console
depends on its lease and on the token that opened it; we check both regularly, because another
replica may have ended either.
"""

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from pve402.domain import errors, lease
from pve402.guests import open_calls
from pve402.storage import console_rows, database, lease_rows, vault

_TICKET_BYTES = 32
_LARGEST_TICKET_CHARACTERS = 100


class Kind(Enum):
    """What a console shows."""

    TERMINAL = "terminal"  # bytes of a terminal
    VNC = "vnc"  # a picture, by RFB


class TicketRefused(errors.Unauthenticated):
    """The console's ticket is unknown, already used, or expired; ask for another console."""

    detail = "The console's ticket is unknown, already used, or expired; ask for another console."
    code = "console_ticket_refused"


class TooManyConsoles(errors.TooMany):
    """Too many consoles are open; close one first."""

    detail = "Too many consoles are open; close one first."
    code = "too_many_consoles"


@dataclass(frozen=True, kw_only=True)
class ConsoleOptions:
    """Limits of consoles; times in seconds.

    ticket_seconds: how long a ticket of the API waits to be used.
    resume_seconds: the same for the ticket that reopens an open console.
    watch_seconds: how often we check the leases and tokens of open consoles and calls.
    per_lease, in_all: how many consoles may be open in this process.
    """

    ticket_seconds: float = 120.0
    resume_seconds: float = 3600.0
    watch_seconds: float = 5.0
    per_lease: int = 16
    in_all: int = 1000


@dataclass(frozen=True, kw_only=True)
class Issued:
    """A ticket in the clear, shown only once."""

    ticket: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What a used ticket allows."""

    lease: lease.Lease
    kind: Kind
    token_hash: str | None = field(default=None, repr=False)


class OpenConsole(open_calls.Opened):
    """One open console."""

    def __init__(self, grant: Grant) -> None:
        super().__init__(grant.lease, grant.token_hash)
        self.grant = grant


class Consoles:
    """Issues tickets, redeems them, and watches the consoles they opened."""

    def __init__(self, db: database.Database, options: ConsoleOptions | None = None) -> None:
        self.options = options or ConsoleOptions()
        self._db = db
        self._open: set[OpenConsole] = set()
        #: Also tracks long calls.
        self.open_calls = open_calls.OpenCalls(db, self.options.watch_seconds)

    async def issue(self, row: lease.Lease, kind: Kind, token: str | None) -> Issued:
        """Make the ticket of a console link; `token` is the one the caller used, if any."""
        token_hash = vault.token_hash(token) if token is not None else None
        grant = Grant(lease=row, kind=kind, token_hash=token_hash)
        return await self._issue(grant, self.options.ticket_seconds)

    async def issue_again(self, grant: Grant, *, for_link: bool = False) -> Issued:
        """Make a ticket for the holder of a console: to reconnect, or to open a second one."""
        options = self.options
        seconds = options.ticket_seconds if for_link else options.resume_seconds
        return await self._issue(grant, seconds)

    async def redeem(self, ticket: str, kind: Kind) -> Grant:
        """Use up a ticket. Raises TicketRefused, and LeaseNotReady if the lease has ended."""
        if len(ticket) > _LARGEST_TICKET_CHARACTERS:
            raise TicketRefused
        async with self._db.begin() as tx:
            used = await console_rows.use(self._db, tx, vault.token_hash(ticket), kind.value)
            if used is None:
                raise TicketRefused
            if used.token_hash and not await console_rows.valid_tokens(
                self._db, tx, [used.token_hash]
            ):
                raise TicketRefused
            found = await lease_rows.get(tx, used.lease_id)
            now = await self._db.time_in(tx)
        if found is None or not lease.is_usable(found.status, found.expires_at, now):
            raise errors.LeaseNotReady
        return Grant(lease=found, kind=kind, token_hash=used.token_hash)

    @contextlib.asynccontextmanager
    async def watched(self, grant: Grant) -> AsyncIterator[OpenConsole]:
        """Track the console opened in the block, and close it when it must end.

        Raises TooManyConsoles.
        """
        lease_id = grant.lease.lease_id
        of_lease = sum(console.grant.lease.lease_id == lease_id for console in self._open)
        if len(self._open) >= self.options.in_all or of_lease >= self.options.per_lease:
            raise TooManyConsoles
        console = OpenConsole(grant)
        self._open.add(console)
        try:
            with self.open_calls.track(console):
                yield console
        finally:
            self._open.discard(console)

    async def end(self, lease_id: str, reason: str) -> None:
        """Close the consoles of a lease in this process, and void its tickets."""
        for console in self._open:
            if console.grant.lease.lease_id == lease_id:
                console.end(reason)
        async with self._db.read() as tx:
            if not await console_rows.are_there(tx, lease_id):
                return  # most leases have none; a lookup costs a quarter of a transaction
        async with self._db.single() as tx:
            await console_rows.void_of_lease(tx, lease_id)

    @property
    def open_consoles(self) -> int:
        """How many consoles are open in this process."""
        return len(self._open)

    async def close(self) -> None:
        """Close every console and stop checking."""
        for console in self._open:
            console.end("service_stops")
        await self.open_calls.close()

    async def _issue(self, grant: Grant, seconds: float) -> Issued:
        text = secrets.token_urlsafe(_TICKET_BYTES)
        row = console_rows.Ticket(
            lease_id=grant.lease.lease_id, kind=grant.kind.value, token_hash=grant.token_hash
        )
        async with self._db.begin() as tx:
            ends = await console_rows.insert(self._db, tx, vault.token_hash(text), row, seconds)
        return Issued(ticket=text, expires_at=ends)
