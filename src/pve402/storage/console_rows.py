"""Console tickets, single-use and stored as hashes, and the state that open consoles depend on."""

import dataclasses
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from pve402.domain import lease
from pve402.storage import database, tables, transaction

_tickets = tables.console_tickets
_tokens = tables.tokens

_KEPT_SECONDS = 3600


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ticket:
    """What a ticket opens: one kind of console of one lease, for the holder of a token, if any."""

    lease_id: str
    kind: str
    token_hash: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """Whether a lease is still active, and until when."""

    status: lease.LeaseStatus
    expires_at: datetime | None
    end_reason: str | None
    suspended_at: datetime | None
    active_at: datetime | None


async def insert(
    db: database.Database,
    tx: transaction.Transaction,
    ticket_hash: str,
    ticket: Ticket,
    seconds: float,
) -> datetime:
    """Store a ticket and return when it expires. Deletes tickets that expired long ago."""
    await tx.execute(_tickets.delete().where(_tickets.c.expires_at < db.now(-_KEPT_SECONDS)))
    query = _tickets.insert().values(
        ticket_hash=ticket_hash, expires_at=db.now(seconds), **dataclasses.asdict(ticket)
    )
    ends: datetime = (await tx.execute(query.returning(_tickets.c.expires_at))).scalar_one()
    return ends


async def use(
    db: database.Database, tx: transaction.Transaction, ticket_hash: str, kind: str
) -> Ticket | None:
    """Use up a ticket and return it; None if it is unknown, used, expired, or of another kind."""
    query = (
        _tickets.update()
        .where(
            _tickets.c.ticket_hash == ticket_hash,
            _tickets.c.kind == kind,
            _tickets.c.used_at.is_(None),
            _tickets.c.expires_at > db.now(),
        )
        .values(used_at=db.now())
        .returning(_tickets.c.lease_id, _tickets.c.kind, _tickets.c.token_hash)
    )
    row = transaction.only(await tx.execute(query))
    return None if row is None else Ticket(**row)


async def are_there(tx: transaction.Transaction, lease_id: str) -> bool:
    """Return whether a lease has any tickets, used or not."""
    return (await tx.run(_ONE_OF_LEASE, lease_id=lease_id)).first() is not None


async def void_of_lease(tx: transaction.Transaction, lease_id: str) -> None:
    """Delete every ticket of a lease when the lease ends."""
    await tx.run(_VOID_OF_LEASE, lease_id=lease_id)


async def standings(tx: transaction.Transaction, lease_ids: Sequence[str]) -> dict[str, Standing]:
    """Return the state of leases, keyed by lease id."""
    columns = (
        tables.leases.c.lease_id,
        tables.leases.c.status,
        tables.leases.c.expires_at,
        tables.leases.c.end_reason,
        tables.leases.c.suspended_at,
        tables.leases.c.active_at,
    )
    rows = await tx.execute(sa.select(*columns).where(tables.leases.c.lease_id.in_(lease_ids)))
    return {
        lease_id: Standing(
            status=lease.LeaseStatus(status),
            expires_at=expires_at,
            end_reason=end_reason,
            suspended_at=suspended_at,
            active_at=active_at,
        )
        for lease_id, status, expires_at, end_reason, suspended_at, active_at in rows
    }


async def valid_tokens(
    db: database.Database, tx: transaction.Transaction, token_hashes: Sequence[str]
) -> frozenset[str]:
    """Return which of these tokens are neither revoked nor expired."""
    query = sa.select(_tokens.c.token_hash).where(
        _tokens.c.token_hash.in_(token_hashes),
        _tokens.c.revoked_at.is_(None),
        sa.or_(_tokens.c.expires_at.is_(None), _tokens.c.expires_at > db.now()),
    )
    return frozenset((await tx.execute(query)).scalars())


_ONE_OF_LEASE = (
    sa.select(_tickets.c.ticket_hash)
    .where(_tickets.c.lease_id == transaction.hole("lease_id"))
    .limit(1)
)
_VOID_OF_LEASE = _tickets.delete().where(_tickets.c.lease_id == transaction.hole("lease_id"))
