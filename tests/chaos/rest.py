"""Whether a run has come to rest, or waits for what only root can do."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.chaos import evidence, stage

from pve402.domain import lease, order
from pve402.leases import anew
from pve402.storage import tables

_BEING_MADE = {
    lease.LeaseStatus.RESERVED,
    lease.LeaseStatus.CREATING,
    lease.LeaseStatus.STARTING,
    lease.LeaseStatus.SETTLING,
    lease.LeaseStatus.UNWINDING,
}


async def is_at_rest(where: stage.Stage) -> bool:
    """Whether every order has come to its end, and every lease is there as it should be, or gone.

    A refused order is watched until its payment is past; it rests once its transfer is owed.
    """
    orders = await evidence.read_rows(where.database_url, tables.orders)
    paid = {(one.payer, one.nonce) for one in await evidence.read_transfers(where)}
    for row in orders:
        watched = row["status"] == order.OrderStatus.REFUSED.value
        if row["due_at"] is not None and not (watched and (row["payer"], row["nonce"]) not in paid):
            return False
    rows = await evidence.read_rows(where.database_url, tables.leases)
    leases, guests = [lease.Lease.from_row(row) for row in rows], await where.guests()
    kept = await evidence.read_kept(where.database_url)
    if kept.are_open(leases):
        return False
    locked = {guest["vmid"] for guest in guests if guest["lock"] == "create"}
    up = {guest["vmid"] for guest in guests if guest["running"]}
    return not any(
        (row.status in _BEING_MADE and row.vmid not in locked)
        or (row.status is lease.LeaseStatus.ACTIVE and row.is_to_run is not (row.vmid in up))
        for row in leases
    )


async def waits_for_root(where: stage.Stage) -> bool:
    """Whether an order goes on as soon as root has helped, as the guide tells operators."""
    url = where.database_url
    return needs_root(
        [order.Order.from_row(row) for row in await evidence.read_rows(url, tables.orders)],
        [lease.Lease.from_row(row) for row in await evidence.read_rows(url, tables.leases)],
        await where.guests(),
    )


def needs_root(
    orders: Sequence[order.Order],
    leases: Sequence[lease.Lease],
    guests: Sequence[Mapping[str, Any]],
) -> bool:
    """Whether a task that died locks the vmid of a reinstallation, or the last one of an order.

    The service asks for another vmid then, too, but hours later. A reinstallation keeps its vmid.
    """
    vmids = {row.lease_id: row.vmid for row in leases}
    locked = {guest["vmid"] for guest in guests if guest["lock"] == "create"}
    return any(row.is_emptied and row.vmid in locked for row in leases) or any(
        one.due_at is not None
        and one.is_paid
        and one.tries + 1 >= anew.MOST_VMIDS
        and vmids.get(one.lease_id or "") in locked
        for one in orders
    )
