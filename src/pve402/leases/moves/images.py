"""Moves of prepared images, and of the leases whose guests are cloned from them."""

from pve402.domain import lease
from pve402.leases.moves import row_moves
from pve402.storage import database, transaction

Status = lease.LeaseStatus
Transaction = transaction.Transaction
_RESERVED = {Status.RESERVED: Status.RESERVED}


async def enter_images(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """STARTING to STOPPED: the image is a template, which is never started."""
    rests = {"due_at": None, "fence": None, "upid": None}
    path = {Status.STARTING: Status.STOPPED}
    return await row_moves.move_fenced(tx, row, path, **rests, **row_moves.AFRESH)


async def retire_image(
    db: database.Database, tx: Transaction, row: lease.Lease, reason: str, *, is_copied: bool
) -> lease.Lease:
    """STOPPED, unchanged: it is cloned no more, and due to be destroyed unless it has clones."""
    due = {} if is_copied else {"deletes_at": db.now(), "due_at": db.now(), "fence": None}
    path = row_moves.stay({Status.STOPPED})
    return await row_moves.move(tx, row, path, row_moves.unheld(row), end_reason=reason, **due)


async def note_base(tx: Transaction, row: lease.Lease, base: str) -> lease.Lease:
    """RESERVED: its guest is about to be asked for as a clone of this image."""
    return await row_moves.move_fenced(tx, row, _RESERVED, base=base, upid=None)


async def note_clone(tx: Transaction, row: lease.Lease, upid: str) -> lease.Lease:
    """RESERVED: this task makes the clone; it is not whole before `finish_clone`."""
    return await row_moves.move_fenced(tx, row, _RESERVED, upid=upid)


async def forget_clone(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """RESERVED: no clone was made, and none can appear any more."""
    none = dict.fromkeys(("base", "upid", "create_sent_at"))
    return await row_moves.move_fenced(tx, row, _RESERVED, **none)


async def finish_clone(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """RESERVED to CREATING: the clone is whole; like a warm guest it needs its tenant's secrets."""
    path = {Status.RESERVED: Status.CREATING}
    return await row_moves.move_fenced(tx, row, path, pooled_at=db.now(), attempts=0)
