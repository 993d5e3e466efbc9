"""What must hold of copies: each was paid with its share, and opens for its own tenant alone."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from tests.chaos import payments

from pve402.domain import lease, order, owed

_SLOW = timedelta(seconds=40)
"""A paid copy that could not be re-keyed for a creation's time limit is handed over as it is."""


def shares(
    orders: Sequence[order.Order], debts: Sequence[owed.Owed], *, blocks_vanish: bool
) -> Iterator[str]:
    """Name payments for several leases whose orders are not all, or have another fate or share.

    Where blocks vanish, a payment may be in another transaction later.
    """
    parts_of: dict[str, list[order.Order]] = defaultdict(list)
    for one in orders:
        if one.part_of is not None:
            parts_of[one.part_of].append(one)
    late = {debt.order_id for debt in debts if debt.reason is owed.OwedReason.PAID_LATE}
    for first in orders:
        parts = parts_of.pop(first.order_id, [])
        if len(parts) != first.parts - 1:
            yield f"order {first.order_id} pays for {first.parts} leases, with {len(parts)} parts"
        for part in parts:
            yield from _other_share(first, part)
            if not blocks_vanish and part.transaction not in {None, first.transaction}:
                yield f"part {part.order_id} names another transaction than its payment"
            is_lost = first.status is order.OrderStatus.REFUSED or first.order_id in late
            if (part.status is order.OrderStatus.REFUSED) is not is_lost:
                yield f"part {part.order_id} is {part.status.value}, not as its payment"
    for name in parts_of:
        yield f"there is no order {name}, and parts of it"


def _other_share(first: order.Order, part: order.Order) -> Iterator[str]:
    share = first.amount_atomic // first.parts
    if part.amount_atomic != share:
        yield f"part {part.order_id} cost {part.amount_atomic}, its share is {share}"
    same = ("payer", "minutes", "network", "asset")
    if any(getattr(first, name) != getattr(part, name) for name in same):
        yield f"part {part.order_id} is not what was paid for"


def told(
    orders: Sequence[order.Order],
    leases: Sequence[lease.Lease],
    signed: Sequence[payments.Signed],
) -> Iterator[str]:
    """Name the payments that were answered with copies which they did not buy."""
    rows = {row.lease_id: row for row in leases}
    by_payment = {(one.payer, one.nonce): one for one in orders}
    for one in signed:
        first = by_payment.get((one.payment.payer, one.nonce))
        if not one.copies or first is None:
            continue
        bought = {o.lease_id for o in orders if first.order_id in {o.order_id, o.part_of}}
        if bought != set(one.copies):
            yield f"payment {one.nonce} was answered with other leases than it bought"
        sources = {rows[name].forked_from for name in one.copies if name in rows}
        if len(sources) != 1 or None in sources:
            yield f"payment {one.nonce} bought copies of {sources}"


def other_keys(
    leases: Sequence[lease.Lease],
    orders: Sequence[order.Order],
    guests: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """Name the copies that open for somebody else than their tenants."""
    keyed = {guest["vmid"]: guest["keyed"] for guest in guests}
    slow = {
        one.lease_id
        for one in orders
        if one.tried_at and one.settled_at and one.settled_at - one.tried_at > _SLOW
    }
    for row in leases:
        is_copy = row.base is not None and not row.is_unowned
        if row.status is not lease.LeaseStatus.ACTIVE or not is_copy or row.lease_id in slow:
            continue
        if keyed.get(row.vmid) != row.lease_id:
            yield f"copy {row.vmid} of lease {row.lease_id} has the keys of {keyed.get(row.vmid)}"
