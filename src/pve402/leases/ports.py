"""Publishes ports of guests, and says who may use them.

A private port is for holders of a token with the scope `ports`, and for browsers. A browser gets in
with a link that works once, for some minutes; for some hours after that it has a login of its own,
which ends with the token that the link was asked for with.
"""

import dataclasses
import secrets
from datetime import datetime
from typing import Final

from pve402.domain import errors, lease, published
from pve402.leases import access, service
from pve402.storage import console_rows, database, lease_rows, port_rows, transaction, vault

SCOPE: Final = "ports"
LINK_SECONDS: Final = 300.0
LOGIN_SECONDS: Final = 12 * 3600.0
_SECRET_BYTES: Final = 32
_LARGEST_SECRET_CHARACTERS: Final = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Secret:
    """The secret of a link or a login, in the clear, shown only once."""

    text: str = dataclasses.field(repr=False)
    expires_at: datetime


@dataclasses.dataclass(frozen=True, kw_only=True)
class Visit:
    """What a visitor of a published port may do, and what ends that."""

    lease: lease.Lease
    port: published.PublishedPort
    #: The token that the visitor used, or that the login came from.
    token_hash: str | None = dataclasses.field(default=None, repr=False)
    #: When the login ends.
    ends_at: datetime | None = None


class Ports:
    """Published ports of all leases; without a domain there are none."""

    def __init__(
        self, db: database.Database, holders: access.Access, domain: published.PortsDomain | None
    ) -> None:
        self._db = db
        self._holders = holders
        self._domain = domain

    def origin(self, port: int, lease_id: str) -> str:
        """The address of a port, without a path. Raises PortsOff."""
        if self._domain is None:
            raise published.PortsOff
        return self._domain.origin(port, lease_id)

    async def publish(
        self,
        row: lease.Lease,
        port: int,
        who: published.Access,
        expires_at: datetime | None,
    ) -> published.PublishedPort:
        """Publish a port, or change who may use it and until when.

        Raises PortsOff, TooManyPorts, InvalidRequest for a time that is over, and LeaseNotReady if
        the lease has ended since the caller looked.
        """
        self.origin(port, row.lease_id)
        async with self._db.begin() as tx:
            await port_rows.take_turns(self._db, tx)
            if not await port_rows.is_active(tx, row.lease_id):
                raise errors.LeaseNotReady
            now = await self._db.time_in(tx)
            if expires_at is not None and expires_at <= now:
                raise errors.InvalidRequest("expiresAt is in the past")
            counts = await port_rows.count(self._db, tx, row.lease_id, row.owner)
            is_new = await port_rows.find(self._db, tx, row.lease_id, port) is None
            if is_new:
                _check_counts(counts)
            wish = published.PublishedPort(
                lease_id=row.lease_id, port=port, access=who, created_at=now, expires_at=expires_at
            )
            await port_rows.put(self._db, tx, wish, is_new=is_new)
            done = await port_rows.find(self._db, tx, row.lease_id, port)
        if done is None:
            raise published.PortNotPublished
        return done

    async def of_lease(self, row: lease.Lease) -> list[published.PublishedPort]:
        """The published ports of a lease, by number."""
        async with self._db.read() as tx:
            return await port_rows.of_leases(self._db, tx, [row.lease_id])

    async def withdraw(self, row: lease.Lease, port: int) -> None:
        """Publish a port no more. Raises PortNotPublished."""
        async with self._db.begin() as tx:
            if not await port_rows.remove(tx, row.lease_id, port):
                raise published.PortNotPublished

    async def make_link(self, row: lease.Lease, port: int, token: str | None) -> Secret:
        """The secret that logs a browser in, once; `token` is the caller's, if it used one.

        Raises PortsOff, PortNotPublished.
        """
        self.origin(port, row.lease_id)
        token_hash = None if token is None else vault.token_hash(token)
        login = port_rows.Login(
            kind="link", lease_id=row.lease_id, port=port, token_hash=token_hash
        )
        async with self._db.begin() as tx:
            if await port_rows.find(self._db, tx, row.lease_id, port) is None:
                raise published.PortNotPublished
            return await self._issue(tx, login, LINK_SECONDS)

    async def log_in(self, name: published.PortName, secret: str) -> Secret:
        """Use a link up for a login. Raises LoginRefused."""
        if len(secret) > _LARGEST_SECRET_CHARACTERS:
            raise published.LoginRefused
        async with self._db.begin() as tx:
            link = await port_rows.use_link(self._db, tx, vault.token_hash(secret), name)
            if link is None or not await self._is_token_valid(tx, link.token_hash):
                raise published.LoginRefused
            login = dataclasses.replace(link, kind="browser")
            return await self._issue(tx, login, LOGIN_SECONDS)

    async def admit(
        self, name: published.PortName, *, token: str | None = None, login: str | None = None
    ) -> Visit | None:
        """Let a visitor in; None if the port is private and nothing valid was shown.

        Raises PortNotPublished, LeaseNotReady, and for a token what `holder` raises.
        """
        async with self._db.read() as tx:
            port = await port_rows.find(self._db, tx, name.lease_id, name.port)
            row = await lease_rows.get(tx, name.lease_id)
            if port is None or row is None:
                raise published.PortNotPublished
            now = await self._db.time_in(tx)
            found = None
            if login is not None and len(login) <= _LARGEST_SECRET_CHARACTERS:
                found = await port_rows.find_login(self._db, tx, vault.token_hash(login), name)
            if found is not None and not await self._is_token_valid(tx, found[0].token_hash):
                found = None
        row.check_usable(now)
        if token is not None:
            await self.holder(token, row)
            return Visit(lease=row, port=port, token_hash=vault.token_hash(token))
        if port.access is published.Access.PUBLIC:
            return Visit(lease=row, port=port)
        if found is None:
            return None
        return Visit(lease=row, port=port, token_hash=found[0].token_hash, ends_at=found[1])

    async def holder(self, token: str, row: lease.Lease) -> service.Caller:
        """The holder of a token, who may use ports of this lease.

        Raises Unauthenticated, LeaseEnded, NotAllowed, LeaseNotFound.
        """
        caller = await self._holders.authenticate(token)
        if not caller.may(SCOPE):
            raise errors.NotAllowed
        if not service.may_manage(caller, row):
            raise errors.LeaseNotFound
        return caller

    async def _issue(
        self, tx: transaction.Transaction, login: port_rows.Login, seconds: float
    ) -> Secret:
        text = secrets.token_urlsafe(_SECRET_BYTES)
        ends = await port_rows.add_login(self._db, tx, vault.token_hash(text), login, seconds)
        return Secret(text=text, expires_at=ends)

    async def _is_token_valid(self, tx: transaction.Transaction, token_hash: str | None) -> bool:
        return token_hash is None or bool(
            await console_rows.valid_tokens(self._db, tx, [token_hash])
        )


def _check_counts(counts: port_rows.Counts) -> None:
    if (
        counts.of_lease >= published.MOST_PER_LEASE
        or counts.of_wallet >= published.MOST_PER_WALLET
        or counts.in_all >= published.MOST_IN_ALL
    ):
        raise published.TooManyPorts
