"""What was begun about guests and is not over: snapshots, sizes, reinstallations, forks."""

import dataclasses
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any

import sqlalchemy as sa

from pve402.domain import lease, order, reinstalls, size_changes, snapshots
from pve402.storage import tables, transaction

_leases = tables.leases.c


class Kind(Enum):
    """What was begun."""

    SNAPSHOT = "snapshot"  # taken, deleted or rolled back to
    SIZE_CHANGE = "size_change"
    REINSTALL = "reinstall"
    FORK = "fork"  # what goes on with it is its order


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unfinished:
    """Something about a lease's guest that has to end before other things begin."""

    kind: Kind
    keeps_down: bool  # nobody may start the guest before


async def of_lease(tx: transaction.Transaction, lease_id: str) -> list[Unfinished]:
    """Return what is begun about a lease's guest: at most one thing, unless a lease is at fault."""
    return [
        Unfinished(kind=Kind(kind), keeps_down=bool(keeps_down))
        for kind, keeps_down in await tx.run(_OF_LEASE, lease_id=lease_id)
    ]


async def kinds(tx: transaction.Transaction, lease_id: str) -> set[Kind]:
    """Return the kinds of what is begun about a lease's guest."""
    return {one.kind for one in await of_lease(tx, lease_id)}


async def left_alone(tx: transaction.Transaction) -> Sequence[str]:
    """Return the active leases with something unfinished that no worker is about to look at.

    A renewal out of grace, or a replica that does not know of it, leaves such a lease behind until
    its end, or until that of its hold. One that does not know that snapshots burn leaves a lease
    that burns for more or fewer than there are. A hold whose reinstallation was lost stays behind.
    """
    return [str(lease_id) for (lease_id,) in (await tx.execute(_LEFT_ALONE)).all()]


def _of(
    table: sa.Table, kind: Kind, states: Iterable[Enum], keeps_down: sa.ColumnElement[bool]
) -> sa.Select[Any]:
    unfinished = table.c.state.in_([state.value for state in states])
    shown: tuple[Any, ...] = (
        table.c.lease_id,
        sa.literal_column(f"'{kind.value}'").label("kind"),
        sa.case((keeps_down, 1), else_=0).label("keeps_down"),
    )
    return sa.select(*shown).where(unfinished)


_snapshots, _changes = tables.snapshots, tables.size_changes
_rolls_back = _snapshots.c.state == snapshots.State.ROLLING_BACK.value
_begun = sa.union_all(
    _of(_snapshots, Kind.SNAPSHOT, snapshots.UNFINISHED, _rolls_back),
    _of(_changes, Kind.SIZE_CHANGE, size_changes.UNFINISHED, _changes.c.resumes_to.isnot(None)),
    _of(tables.reinstalls, Kind.REINSTALL, reinstalls.UNFINISHED, sa.true()),
).subquery("begun")
_forks, _orders = tables.forks, tables.orders.c
_is_unpaid = sa.exists().where(  # later its tenant may need it; a copy that is made anew waits
    _orders.order_id == _forks.c.order_id,
    _orders.status.in_([status.value for status in order.OPEN]),
    _orders.settled_at.is_(None),
)
_copied = sa.select(
    _forks.c.lease_id,
    sa.literal_column(f"'{Kind.FORK.value}'").label("kind"),
    sa.case((sa.and_(_forks.c.pve_name.is_(None), _is_unpaid), 1), else_=0).label("keeps_down"),
)
_all = sa.union_all(sa.select(_begun), _copied).subquery("all_begun")
_OF_LEASE = sa.select(_all.c.kind, _all.c.keeps_down).where(
    _all.c.lease_id == transaction.hole("lease_id")
)
_is_emptied = _leases.hold_order_id == lease.REINSTALL_HOLD
_unheld = sa.or_(_leases.hold_order_id.is_(None), _is_emptied)
_rests = sa.or_(_leases.due_at == _leases.expires_at, _leases.due_at == _leases.hold_until)
_burning = (
    sa.select(sa.func.coalesce(sa.func.sum(_snapshots.c.gb), 0))
    .where(_snapshots.c.lease_id == _leases.lease_id, _snapshots.c.burn.isnot(None))
    .where(_snapshots.c.state != snapshots.State.FAILED.value)
    .scalar_subquery()
)
_unfinished = _leases.lease_id.in_(sa.select(_begun.c.lease_id))
_LEFT_ALONE = (
    sa.select(_leases.lease_id)
    .where(sa.or_(_unfinished, _is_emptied, _leases.snapshot_gb != _burning))
    .where(_leases.status == lease.LeaseStatus.ACTIVE.value, _leases.suspended_at.is_(None))
    .where(_leases.fence.is_(None), _rests, _unheld)
)
