"""Moves of the doctor's trial guests, which are never sold and never active."""

from pve402.domain import lease, networks
from pve402.leases.moves import row_moves
from pve402.leases.moves.creation import UNWIND
from pve402.storage import database, transaction

Status = lease.LeaseStatus
Transaction = transaction.Transaction


async def begin_trial(
    db: database.Database, tx: Transaction, row: lease.Lease, fence: str, hold_seconds: float
) -> lease.Lease:
    """RESERVED, just written: one process works on it, and it falls due if that process dies."""
    path = {Status.RESERVED: Status.RESERVED}
    held = {"fence": fence, "due_at": db.now(hold_seconds)}
    return await row_moves.move_fenced(tx, row, path, **held)


async def take_over_trial(
    db: database.Database, tx: Transaction, row: lease.Lease, fence: str, hold_seconds: float
) -> lease.Lease:
    """Same state: another process died over it. Guard: nobody took it over since it was read."""
    path = row_moves.stay({*UNWIND, Status.UNWINDING})
    held = {"fence": fence, "due_at": db.now(hold_seconds)}
    return await row_moves.move_fenced(tx, row, path, **held)


async def wait_for_rules(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """STARTING, unchanged: its guest is to be isolated, and connected once its rules stand."""
    path = row_moves.stay({Status.STARTING})
    pending = {"link": networks.Link.PENDING.value, "rules_at": None}
    return await row_moves.move_fenced(tx, row, path, **pending)


async def end_trial(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """Any state of a creation to UNWINDING, under the same fence: the guest must be destroyed."""
    return await row_moves.move_fenced(tx, row, UNWIND, end_reason="trial_over")
