"""Published ports, and the logins of browsers to private ones, stored as hashes."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from pve402.domain import lease, published
from pve402.storage import database, tables, transaction

_ports = tables.ports
_logins = tables.port_logins
#: Links, and browsers logged in, of one port at a time; the oldest go first.
MOST_LOGINS: Final = 64
_LOCK: Final = 402_402_404


@dataclasses.dataclass(frozen=True, kw_only=True)
class Login:
    """A link that logs a browser in, or the login itself; it ends with the token behind it."""

    kind: str
    lease_id: str
    port: int
    token_hash: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """How many ports are published."""

    of_lease: int
    of_wallet: int
    in_all: int


async def take_turns(db: database.Database, tx: transaction.Transaction) -> None:
    """Let only one transaction at a time count and publish; SQLite has only one writer anyway."""
    if not db.is_sqlite:
        await tx.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


async def is_active(tx: transaction.Transaction, lease_id: str) -> bool:
    """Whether a lease is active; it stays so until the transaction is over."""
    of_lease = tables.leases.c.lease_id == lease_id
    is_active = tables.leases.c.status == lease.LeaseStatus.ACTIVE.value
    query = sa.select(sa.true()).where(of_lease, is_active).with_for_update(read=True)
    return (await tx.execute(query)).first() is not None


async def count(
    db: database.Database, tx: transaction.Transaction, lease_id: str, owner: str
) -> Counts:
    """Count the published ports, after deleting those whose time is over, and their logins."""
    over = _ports.delete().where(_ports.c.expires_at <= db.now())
    for gone in (await tx.execute(over.returning(_ports.c.lease_id, _ports.c.port))).all():
        await _remove_logins(tx, *gone)
    of_owner = sa.select(tables.leases.c.lease_id).where(tables.leases.c.owner == owner)
    query = sa.select(
        sa.func.count().filter(_ports.c.lease_id == lease_id),
        sa.func.count().filter(_ports.c.lease_id.in_(of_owner)),
        sa.func.count(),
    ).select_from(_ports)
    of_lease, of_wallet, in_all = (await tx.execute(query)).one()
    return Counts(of_lease=of_lease, of_wallet=of_wallet, in_all=in_all)


async def put(
    db: database.Database,
    tx: transaction.Transaction,
    wish: published.PublishedPort,
    *,
    is_new: bool,
) -> None:
    """Write a port, or change who may use it and until when."""
    values = {"access": wish.access.value, "expires_at": wish.expires_at}
    if is_new:
        key = {"lease_id": wish.lease_id, "port": wish.port}
        await tx.execute(_ports.insert().values(**key, **values, created_at=db.now()))
    else:
        await tx.execute(_ports.update().where(*_is(wish.lease_id, wish.port)).values(**values))


async def find(
    db: database.Database, tx: transaction.Transaction, lease_id: str, port: int
) -> published.PublishedPort | None:
    """Return a published port whose time is not over."""
    query = sa.select(_ports).where(*_is(lease_id, port), _is_valid(db))
    return _port(transaction.only(await tx.execute(query)))


async def of_leases(
    db: database.Database, tx: transaction.Transaction, lease_ids: Collection[str]
) -> list[published.PublishedPort]:
    """Return the published ports of leases, by number."""
    query = sa.select(_ports).where(_ports.c.lease_id.in_(lease_ids), _is_valid(db))
    found = transaction.named(await tx.execute(query.order_by(_ports.c.port)))
    return [port for row in found if (port := _port(row)) is not None]


async def remove(tx: transaction.Transaction, lease_id: str, port: int) -> bool:
    """Delete a port and its logins; False if there was none."""
    await _remove_logins(tx, lease_id, port)
    return (await tx.execute(_ports.delete().where(*_is(lease_id, port)))).rowcount == 1


async def remove_of_lease(tx: transaction.Transaction, lease_id: str) -> None:
    """Delete the ports of a lease, and their logins, when it is over."""
    if (await tx.run(_ONE_OF_LEASE, lease_id=lease_id)).first() is not None:
        await tx.run(_REMOVE_LOGINS, lease_id=lease_id)
        await tx.run(_REMOVE_PORTS, lease_id=lease_id)


async def add_login(
    db: database.Database,
    tx: transaction.Transaction,
    login_hash: str,
    login: Login,
    seconds: float,
) -> datetime:
    """Store a link or a login, and return when it expires; makes room for it."""
    await tx.execute(_logins.delete().where(_logins.c.expires_at <= db.now()))
    await tx.execute(_logins.delete().where(_logins.c.login_hash.in_(_oldest(login))))
    query = _logins.insert().values(
        login_hash=login_hash,
        expires_at=db.now(seconds),
        **dataclasses.asdict(login),
    )
    ends: datetime = (await tx.execute(query.returning(_logins.c.expires_at))).scalar_one()
    return ends


async def use_link(
    db: database.Database, tx: transaction.Transaction, login_hash: str, name: published.PortName
) -> Login | None:
    """Use up a link to this port; None if it is unknown, used, or expired."""
    query = _logins.delete().where(*_is_login(db, login_hash, "link", name)).returning(*_OF_LOGIN)
    row = transaction.only(await tx.execute(query))
    return None if row is None else Login(**row)


async def find_login(
    db: database.Database, tx: transaction.Transaction, login_hash: str, name: published.PortName
) -> tuple[Login, datetime] | None:
    """Return a browser's login to this port, and when it ends."""
    wanted = sa.select(*_OF_LOGIN, _logins.c.expires_at)
    query = wanted.where(*_is_login(db, login_hash, "browser", name))
    row = transaction.only(await tx.execute(query))
    if row is None:
        return None
    ends_at: datetime = row.pop("expires_at")
    return Login(**row), ends_at


async def _remove_logins(tx: transaction.Transaction, lease_id: str, port: int) -> None:
    await tx.execute(_logins.delete().where(_logins.c.lease_id == lease_id, _logins.c.port == port))


def _is(lease_id: str, port: int) -> Sequence[sa.ColumnElement[bool]]:
    return _ports.c.lease_id == lease_id, _ports.c.port == port


def _is_valid(db: database.Database) -> sa.ColumnElement[bool]:
    return sa.or_(_ports.c.expires_at.is_(None), _ports.c.expires_at > db.now())


def _is_login(
    db: database.Database, login_hash: str, kind: str, name: published.PortName
) -> Sequence[sa.ColumnElement[bool]]:
    return (
        _logins.c.login_hash == login_hash,
        _logins.c.kind == kind,
        _logins.c.lease_id == name.lease_id,
        _logins.c.port == name.port,
        _logins.c.expires_at > db.now(),
    )


def _oldest(login: Login) -> sa.Select[Any]:
    of_port = (_logins.c.lease_id == login.lease_id, _logins.c.port == login.port)
    found = sa.select(_logins.c.login_hash).where(*of_port, _logins.c.kind == login.kind)
    return found.order_by(_logins.c.expires_at.desc()).offset(MOST_LOGINS - 1)


def _port(row: Mapping[str, Any] | None) -> published.PublishedPort | None:
    if row is None:
        return None
    return published.PublishedPort(**{**row, "access": published.Access(row["access"])})


_OF_LOGIN = (_logins.c.kind, _logins.c.lease_id, _logins.c.port, _logins.c.token_hash)
_LEASE = transaction.hole("lease_id")
_ONE_OF_LEASE = sa.select(_ports.c.port).where(_ports.c.lease_id == _LEASE).limit(1)
_REMOVE_PORTS = _ports.delete().where(_ports.c.lease_id == _LEASE)
_REMOVE_LOGINS = _logins.delete().where(_logins.c.lease_id == _LEASE)
