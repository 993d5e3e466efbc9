"""Moves that create a lease: reserve, create, start, settle, hand over, or unwind."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pve402.domain import lease, networks, power
from pve402.leases.moves import metering, row_moves, suspension
from pve402.storage import database, lease_rows, transaction

Status = lease.LeaseStatus
Transaction = transaction.Transaction


async def reserve(
    db: database.Database, tx: Transaction, new: lease.Lease, *, due: bool = False
) -> None:
    """Write a new lease, RESERVED; due now if a worker and not an order creates its guest."""
    if new.status is not Status.RESERVED:
        raise ValueError(f"a new lease is not {new.status.value}")
    await lease_rows.insert(db, tx, new, due=due)


async def restore(db: database.Database, tx: Transaction, row: lease.Lease) -> None:
    """Rewrite a lost lease from its guest's description: ACTIVE until its end, or POOLED.

    A prepared image is STOPPED.
    """
    if row.status not in {Status.ACTIVE, Status.POOLED, Status.STOPPED}:
        raise ValueError(f"no lease comes back {row.status.value}")
    await lease_rows.insert(db, tx, row, due=False)
    if row.expires_at is not None:
        path = {Status.ACTIVE: Status.ACTIVE}
        values = metering.of(row, row.created_at).facts
        values |= {"due_at": row.expires_at}
        values |= {"wanted": row.wanted.value, **suspension.columns(row.suspension)}
        await row_moves.move(tx, row, path, {}, **values)


async def note_create_sent(db: database.Database, tx: Transaction, row: lease.Lease) -> lease.Lease:
    """RESERVED: we are about to ask Proxmox for the guest."""
    path = {Status.RESERVED: Status.RESERVED}
    return await row_moves.move_fenced(tx, row, path, create_sent_at=db.now(), attempts=0)


async def forget_create_sent(
    tx: Transaction, row: lease.Lease, before: datetime | None
) -> lease.Lease:
    """RESERVED: Proxmox refused the request, so only one from `before` may still make a guest."""
    path = {Status.RESERVED: Status.RESERVED}
    return await row_moves.move_fenced(tx, row, path, create_sent_at=before)


async def change_vmid(tx: Transaction, row: lease.Lease, vmid: int) -> lease.Lease:
    """RESERVED: the guest will be created under another vmid."""
    path = {Status.RESERVED: Status.RESERVED}
    return await row_moves.move_fenced(tx, row, path, vmid=vmid, upid=None, base=None)


async def begin_creating(tx: Transaction, row: lease.Lease, upid: str | None) -> lease.Lease:
    """RESERVED to CREATING; without a task's UPID, the guest already exists."""
    path = {Status.RESERVED: Status.CREATING}
    return await row_moves.move_fenced(tx, row, path, upid=upid, attempts=0)


async def ask_again(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """CREATING to RESERVED: the creation task failed and certainly created nothing."""
    path = {Status.CREATING: Status.RESERVED}
    again = {"upid": None, "create_sent_at": None, "rules_at": None}
    return await row_moves.move_fenced(tx, row, path, **again)


async def note_rules(
    db: database.Database, tx: Transaction, row: lease.Lease, key: str
) -> lease.Lease:
    """CREATING, STARTING or ACTIVE, unchanged: its isolation rules stand on its guest."""
    path = row_moves.stay({Status.CREATING, Status.STARTING, Status.ACTIVE})
    return await row_moves.move_fenced(tx, row, path, rules_at=db.now(), rules_key=key)


async def note_addresses(
    tx: Transaction, row: lease.Lease, found: Mapping[str, str]
) -> lease.Lease:
    """CREATING or STARTING, unchanged: others gave its guest addresses, which its rules must name.

    The rules are to be written again, and to stand as long again.
    """
    path = row_moves.stay({Status.CREATING, Status.STARTING})
    addresses = {**row.addresses, **found}
    return await row_moves.move_fenced(tx, row, path, addresses=addresses, rules_at=None)


async def note_link(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """STARTING, SETTLING or ACTIVE, unchanged: its guest is connected."""
    path = row_moves.stay({Status.STARTING, Status.SETTLING, Status.ACTIVE})
    return await row_moves.move_fenced(tx, row, path, link=networks.Link.READY.value)


async def begin_starting(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """CREATING to STARTING: the guest exists."""
    return await row_moves.move_fenced(tx, row, {Status.CREATING: Status.STARTING}, attempts=0)


async def begin_settling(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """STARTING to SETTLING: the guest runs. CREATING to SETTLING: it starts once it is paid."""
    path = {Status.STARTING: Status.SETTLING, Status.CREATING: Status.SETTLING}
    return await row_moves.move_fenced(tx, row, path)


async def start_paid(tx: Transaction, row: lease.Lease) -> lease.Lease:
    """SETTLING to STARTING: the lease is paid, and its guest should run."""
    return await row_moves.move_fenced(tx, row, {Status.SETTLING: Status.STARTING})


async def make_anew(
    tx: Transaction,
    row: lease.Lease,
    *,
    node: str,
    storage: str | None,
    vmid: int,
    addresses: Mapping[str, str],
) -> lease.Lease:
    """Any state of a creation to RESERVED: its guest is gone, and created again elsewhere.

    It keeps the addresses that it is told to keep.
    """
    path = dict.fromkeys(UNWIND, Status.RESERVED)
    is_isolated = row.link is networks.Link.PENDING or row.rules_at is not None
    link = networks.Link.PENDING if is_isolated else networks.Link.READY
    place: dict[str, Any] = {"node": node, "storage": storage, "vmid": vmid, "link": link.value}
    place["addresses"] = dict(addresses)
    none = dict.fromkeys(("upid", "create_sent_at", "base", "pooled_at", "rules_at"))
    return await row_moves.move_fenced(tx, row, path, **place, **none, attempts=0)


async def activate(
    tx: Transaction, row: lease.Lease, minutes: int, paid_at: datetime
) -> lease.Lease:
    """SETTLING or STARTING to ACTIVE: the lease is paid and runs, and its paid time begins.

    Due at its end, or at once if its guest is still to be connected. A private image is never to
    run.
    """
    empty = metering.of(row, paid_at)
    begun = empty.credited(empty.worth(minutes), paid_at)
    due = begun.ends_at if row.link is networks.Link.READY else paid_at
    path = {Status.SETTLING: Status.ACTIVE, Status.STARTING: Status.ACTIVE}
    wanted = power.Wanted.STOPPED if row.is_private_image else row.wanted
    begins: dict[str, Any] = {"due_at": due, "upid": None, "wanted": wanted.value}
    if row.idle_pause_minutes:
        begins["active_at"] = paid_at
    return await row_moves.move_fenced(tx, row, path, **begun.facts, **begins)


async def unwind(
    db: database.Database, tx: Transaction, row: lease.Lease, refusal: str, reason: str
) -> lease.Lease:
    """Any state of a creation to UNWINDING: its guest must be destroyed.

    The reason is for the operator.
    """
    due = {"due_at": db.now(), "fence": None}
    why = {"end_reason": refusal, "last_error": reason[:500]}
    return await row_moves.move_fenced(tx, row, UNWIND, **due, **why)


async def follow_in_order(tx: Transaction, row: lease.Lease, node: str) -> lease.Lease:
    """Same state: an order found the lease's guest on another node."""
    return await row_moves.move(tx, row, row_moves.stay(Status), {}, node=node)


UNWIND = {
    Status.RESERVED: Status.UNWINDING,
    Status.CREATING: Status.UNWINDING,
    Status.STARTING: Status.UNWINDING,
    Status.SETTLING: Status.UNWINDING,
}
