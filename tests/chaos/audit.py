"""What must hold afterwards: of the chain, of Proxmox and of the database.

The chain says what was paid, Proxmox what stands, the database what was promised, and the tenants
what they signed; each is compared with the others.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from tests.chaos import copies, meters, running, standing
from tests.chaos.evidence import Findings

from pve402.domain import lease, mark, order, owed

_ROUNDING_SECONDS = 0.01
_GUEST_OUGHT_TO_RUN = {lease.LeaseStatus.ACTIVE}
_INSTANCE = "chaos"


def violations(findings: Findings) -> list[str]:
    """Everything that should not be; empty if all came out right."""
    checks = (
        _money_and_orders,
        _orders_and_leases,
        _minutes,
        _guests,
        _running,
        _kept,
        _copies,
        _standing,
        _refused,
        _owed,
        _vmids,
        _nothing_open,
        _promises,
    )
    return [words for check in checks for words in check(findings)]


def _money_and_orders(findings: Findings) -> Iterator[str]:
    """Every transfer belongs to one settled order, and every settled order to one transfer.

    Or it is owed, and a redemption is settled by what is owed.

    Fees are not looked at again, so one whose block vanished stays unpaid.
    """
    orders = {(one.payer, one.nonce): one for one in findings.orders}
    if len(orders) != len(findings.orders):
        yield "one payment has several orders"
    for transfer in findings.transfers:
        found = orders.pop((transfer.payer, transfer.nonce), None)
        if found is None:
            yield f"transfer {transfer.transaction} has no order"
        elif found.status is order.OrderStatus.OWED:
            yield from _owed_for(findings, found)
        elif found.status is not order.OrderStatus.SETTLED:
            yield f"order {found.order_id} was paid and is {found.status.value}: {found.last_error}"
        elif found.transaction != transfer.transaction:
            yield f"order {found.order_id} names another transaction than its own"
        elif found.amount_atomic != transfer.amount_atomic:
            yield f"order {found.order_id} was paid {transfer.amount_atomic}"
    yield from _settled_unpaid(findings, orders.values())


def _settled_unpaid(findings: Findings, unpaid: Iterable[order.Order]) -> Iterator[str]:
    for left in unpaid:
        if left.part_of is not None and left.status is order.OrderStatus.OWED:
            yield from _owed_for(findings, left)
        if left.owed_id is not None or left.part_of is not None:
            continue
        unpaid_fee = findings.blocks_vanish and left.kind is order.OrderKind.FEE
        if left.status is order.OrderStatus.SETTLED and not unpaid_fee:
            yield f"order {left.order_id} ({left.kind.value}) is settled without a transfer"


def _owed_for(findings: Findings, paid: order.Order) -> Iterator[str]:
    debts = [debt for debt in findings.owed if debt.order_id == paid.order_id]
    if len(debts) != 1:
        yield f"order {paid.order_id} was paid and bought nothing, and {len(debts)} debts say so"
        return
    is_all = debts[0].reason is owed.OwedReason.PAID_LATE  # nothing else was delivered
    if debts[0].amount_atomic != (paid.amount_atomic if is_all else paid.share_atomic):
        yield f"{debts[0].amount_atomic} are owed for order {paid.order_id}"


def _owed(findings: Findings) -> Iterator[str]:
    """What was owed is still owed, or was redeemed by leases that were handed over."""
    orders = {one.order_id: one for one in findings.orders}
    for debt in findings.owed:
        spent = sum(
            one.amount_atomic
            for one in findings.orders
            if one.owed_id == debt.owed_id and one.status is not order.OrderStatus.REFUSED
        )
        if debt.left_atomic + spent != debt.amount_atomic:
            yield f"debt {debt.owed_id}: {debt.amount_atomic} owed, {spent} spent, other left"
        paid = orders.get(debt.order_id)
        if paid is None or paid.status is not order.OrderStatus.OWED:
            yield f"debt {debt.owed_id} is of an order that is not owed: {debt.order_id}"
        if debt.holder_order_id is not None:
            yield f"debt {debt.owed_id} is held by {debt.holder_order_id}"


def _orders_and_leases(findings: Findings) -> Iterator[str]:
    """Every lease that was handed over was made by one settled order, and the other way round."""
    creations = Counter(
        one.lease_id
        for one in findings.orders
        if one.kind is order.OrderKind.CREATION and one.status is order.OrderStatus.SETTLED
    )
    for row in findings.leases:
        paid = creations.pop(row.lease_id, 0)
        if row.handed_over and paid != 1:
            yield f"lease {row.lease_id} was handed over and paid {paid} times"
        if not row.handed_over and paid:
            yield f"lease {row.lease_id} was paid and never handed over ({row.status.value})"
    for lease_id in creations:
        yield f"a settled order names the lease {lease_id}, which is not there"


def _minutes(findings: Findings) -> Iterator[str]:
    """Each lease ends when its orders say: so many minutes from the later of then and its end.

    One that did not always burn the same is compared by what it has left.
    """
    by_lease: dict[str | None, list[order.Order]] = {}
    for one in findings.orders:
        if one.kind is not order.OrderKind.FEE and one.status is order.OrderStatus.SETTLED:
            by_lease.setdefault(one.lease_id, []).append(one)
    for row in findings.leases:
        yield from meters.end_of(row)
        settled = sorted(by_lease.get(row.lease_id, ()), key=lambda one: one.expires_at or 0)
        stood_still = row.lease_id in findings.kept.reinstalled
        if row.is_paused or row.wakes or row.lease_id in findings.kept.changed:
            yield from meters.value_of(
                row, settled, findings.minute_seconds, stood_still=stood_still
            )
        elif stood_still:
            still = _still_seconds(findings, row, settled)
            yield from meters.stood_still(row, settled, findings.minute_seconds, still)
        else:
            yield from _minutes_of(row, settled, findings.minute_seconds)


def _still_seconds(
    findings: Findings, row: lease.Lease, settled: Sequence[order.Order]
) -> tuple[float, float]:
    since = min((one.settled_at for one in settled if one.settled_at), default=findings.read_at)
    span = (since, findings.read_at)
    return running.still_seconds(row, span, findings.runs, findings.absences)


def _minutes_of(
    row: lease.Lease, settled: Sequence[order.Order], minute_seconds: float
) -> Iterator[str]:
    end = None
    for one in settled:
        if one.settled_at is None or one.expires_at is None:
            yield f"order {one.order_id} is settled without its times"
            return
        begin = one.settled_at if end is None else max(end, one.settled_at)
        bought = timedelta(seconds=one.minutes * minute_seconds)
        off = abs((one.expires_at - begin - bought).total_seconds())
        if off > _ROUNDING_SECONDS:
            yield f"order {one.order_id} ({one.kind.value}) gave {off:.1f} s too many or too few"
        end = one.expires_at
    if settled and row.expires_at != end:
        yield f"lease {row.lease_id} ends at {row.expires_at}, its orders say {end}"


def _guests(findings: Findings) -> Iterator[str]:
    """No guest without a lease, and each in the state that its lease is in."""
    ours = {
        guest["vmid"]: guest
        for guest in findings.guests
        if mark.instance_tag(_INSTANCE) in guest["tags"].split(";")
    }
    standing = {row.vmid: row for row in findings.leases if row.status not in lease.OVER}
    for vmid, guest in ours.items():
        row = standing.get(vmid)
        if row is None or mark.lease_tag(row.lease_id) not in guest["tags"].split(";"):
            yield f"guest {vmid} ({guest['tags']}) stands without a lease"
        elif guest["running"] and row.status is lease.LeaseStatus.STOPPED:
            yield f"guest {vmid} runs and its lease {row.lease_id} is stopped"
    for vmid, row in standing.items():
        runs = vmid in ours and ours[vmid]["running"]
        if row.status in _GUEST_OUGHT_TO_RUN and runs is not row.is_to_run:
            does = "runs" if runs else "does not run"
            yield f"lease {row.lease_id} is active and its guest {vmid} {does}"


def _running(findings: Findings) -> Iterator[str]:
    """No guest ran unpaid for too long, a contract's not at all; tenants got their wishes."""
    if not findings.blocks_vanish:
        paid_in = {
            (transfer.payer, transfer.nonce): transfer.block for transfer in findings.transfers
        }
        yield from running.unpaid_starts(findings.orders, findings.runs, findings.signed, paid_in)
    unpaid_seconds = running.longest_unpaid_seconds(findings.orders, findings.runs, findings.served)
    if unpaid_seconds > findings.unpaid_seconds:
        yield f"a guest ran unpaid for {unpaid_seconds:.1f} s"
    yield from running.strangers(findings.leases, findings.runs, findings.kept.resized)
    yield from running.undone_wishes(findings.leases, findings.runs, findings.wishes)
    yield from running.idle_pauses(findings.leases)


def _kept(findings: Findings) -> Iterator[str]:
    """Every snapshot has its row, and no guest ever started with another size or card."""
    yield from findings.kept.violations(findings.leases, findings.guests, findings.runs)


def _copies(findings: Findings) -> Iterator[str]:
    """Each copy was paid with its share, and opens for its tenant alone."""
    yield from copies.shares(findings.orders, findings.owed, blocks_vanish=findings.blocks_vanish)
    yield from copies.told(findings.orders, findings.leases, findings.signed)
    yield from copies.other_keys(findings.leases, findings.orders, findings.guests)


def _standing(findings: Findings) -> Iterator[str]:
    """Everything on Proxmox has its row, and no image ever ran."""
    yield from standing.unaccounted(findings.leases, findings.guests)
    yield from findings.stored.unaccounted(findings.guests)
    yield from standing.wrong_lives(findings.leases, findings.runs)


def leftovers(findings: Findings) -> list[int]:
    """Guests locked for creation by a task that died: nothing but root can clear them."""
    return [guest["vmid"] for guest in findings.guests if guest["lock"] == "create"]


def _refused(findings: Findings) -> Iterator[str]:
    """Every failed creation was not charged, and is gone."""
    paid = {(transfer.payer, transfer.nonce) for transfer in findings.transfers}
    leases = {row.lease_id: row for row in findings.leases}
    locked = set(leftovers(findings))
    for one in findings.orders:
        if one.status is not order.OrderStatus.REFUSED:
            continue
        if (one.payer, one.nonce) in paid:
            yield f"order {one.order_id} was refused ({one.refusal}) and charged"
        row = leases.get(one.lease_id or "")
        failed = row is not None and (row.status is lease.LeaseStatus.FAILED or row.vmid in locked)
        if one.kind is order.OrderKind.CREATION and not failed:
            yield f"order {one.order_id} was refused, its lease is {row and row.status.value}"


def _vmids(findings: Findings) -> Iterator[str]:
    """No vmid served two leases: all of it took less than a vmid's rest."""
    for vmid, uses in Counter(row.vmid for row in findings.leases).items():
        if uses > 1:
            yield f"vmid {vmid} was used by {uses} leases"
    resting = {row["vmid"] for row in findings.vmids}
    for row in findings.leases:
        if row.vmid not in resting:
            yield f"vmid {row.vmid} of lease {row.lease_id} does not rest"


def _nothing_open(findings: Findings) -> Iterator[str]:
    """Every order came to its end, and nobody holds or waits for anything."""
    for one in findings.orders:
        is_watched = one.status is order.OrderStatus.REFUSED
        if one.is_open or one.fence is not None or (one.due_at is not None and not is_watched):
            yield (
                f"order {one.order_id} ({one.kind.value}) is left {one.status.value}, "
                f"final {one.final}, attempts {one.attempts}: {one.last_error}"
            )
        if one.sealed_payment is not None and not is_watched:
            yield f"order {one.order_id} still keeps its payment"
    for row in findings.leases:
        if row.hold_order_id is not None:
            yield f"lease {row.lease_id} ({row.status.value}) is held by {row.hold_order_id}"


def _promises(findings: Findings) -> Iterator[str]:
    """What tenants signed and were told is what the orders say."""
    orders = {(one.payer, one.nonce): one for one in findings.orders}
    for signed in findings.signed:
        yield from (f"{signed.kind} {signed.nonce}: {words}" for words in signed.violations)
        found = orders.get((signed.payment.payer, signed.nonce))
        good = any(status == 200 for status, _ in signed.told)
        if found is None:
            if good:
                yield f"payment {signed.nonce} was answered 200 and has no order"
            continue
        if good and found.status is not order.OrderStatus.SETTLED:
            yield f"order {found.order_id} was answered 200 and is {found.status.value}"
        if (found.kind.value, found.minutes) != (signed.kind, signed.minutes):
            yield f"order {found.order_id} is not what was signed"
        if signed.lease_id is not None and found.lease_id != signed.lease_id:
            yield f"order {found.order_id} is for another lease than the tenant was told"


def after_expiry(
    leases: Iterable[lease.Lease], guests: Sequence[Mapping[str, Any]], volumes: Iterable[str] = ()
) -> list[str]:
    """What is left when all time is over: nothing."""
    wrong = [
        f"lease {row.lease_id} is {row.status.value} long after its end: {row.last_error}"
        for row in leases
        if row.status not in lease.OVER
    ]
    wrong += [f"guest {guest['vmid']} is there long after its end" for guest in guests]
    return wrong + [f"volume {name} is there long after its guest" for name in volumes]
