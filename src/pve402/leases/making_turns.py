"""Turns to make guests: a node makes only so many at once, over all replicas.

A lease's row is its turn, from the request for its guest to the end of that task, so a process that
dies holds none that nobody gives back. A guest that was given up counts while it may still be made.

    the copy of a tenant's disk   takes minutes: copies have half of the turns, and one account has
                                  half of theirs, whether or not others wait
    any other guest               takes seconds: one account may have all turns, and shares them
                                  with others that have one, or wait for one

Leases that wait ask twice a second, and the first to ask gets a free turn. While an account may
have only one turn and others wait, only its longest-waiting lease asks; otherwise the account with
the most leases would win most turns.
"""

from pve402.domain import lease
from pve402.leases import moves, options, workflow
from pve402.storage import creation_rows, database, transaction

_PAUSE_SECONDS = 0.5
_KEPT_FOR_TENANTS = 2


def of_pool(settings: options.LeaseOptions) -> int:
    """Return how many turns of a node the warm pool may have; the others are left to tenants."""
    return max(1, settings.creates_per_node - _KEPT_FOR_TENANTS)


def of_copies(settings: options.LeaseOptions) -> int:
    """Return how many copies of whole disks a node may make; other guests take seconds."""
    return max(1, settings.creates_per_node // 2)


async def check(db: database.Database, row: lease.Lease, settings: options.LeaseOptions) -> None:
    """Raise RetryLater while the lease's node makes as many guests as it may."""
    async with db.read() as tx:
        await _check(db, tx, row, settings)


async def claim(
    db: database.Database,
    settings: options.LeaseOptions,
    tx: transaction.Transaction,
    row: lease.Lease,
) -> None:
    """Check in a transaction that writes what makes the row a turn. Raises RetryLater."""
    await creation_rows.lock_node(db, tx, row.node)
    await _check(db, tx, row, settings)


async def take(
    db: database.Database,
    settings: options.LeaseOptions,
    tx: transaction.Transaction,
    row: lease.Lease,
) -> lease.Lease:
    """Note that we are about to ask for the guest. Raises RetryLater, FenceLostError."""
    await claim(db, settings, tx, row)
    return await moves.note_create_sent(db, tx, row)


async def _check(
    db: database.Database,
    tx: transaction.Transaction,
    row: lease.Lease,
    settings: options.LeaseOptions,
) -> None:
    others = await creation_rows.count_others(db, tx, row, settings.creation_limit_seconds)
    reason = why_not(row, others, settings)
    if reason is not None:
        raise workflow.RetryLater(reason, after_seconds=_PAUSE_SECONDS)


def why_not(
    row: lease.Lease, others: creation_rows.Others, settings: options.LeaseOptions
) -> str | None:
    """Return why a lease's guest may not be asked for now; None: it may."""
    most = of_pool(settings) if row.owner == lease.NOBODY else settings.creates_per_node
    if others.making >= most:
        return f"node {row.node} makes {others.making} guests already"
    has_turn = row.create_sent_at is not None  # it was asked for
    is_of_tenant = row.is_private_image or not row.is_unowned
    if has_turn or not is_of_tenant:
        return None
    turns = of_copies(settings) if row.copies_disk else settings.creates_per_node
    if row.copies_disk and others.copies >= turns:
        return f"node {row.node} makes {others.copies} copies already"
    share = _share(turns, 2 if row.copies_disk else 1 + others.accounts)
    is_queue = share == 1 and others.accounts > 0
    if others.own + (others.own_before if is_queue else 0) >= share:
        return f"node {row.node} makes {others.own} guests of its owner already"
    return None


def _share(turns: int, accounts: int) -> int:
    """Return how many turns each of some accounts may have, at least one."""
    return -(-turns // accounts)
