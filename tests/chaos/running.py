"""What must hold of guests that run: somebody paid for it, and its tenant wants it.

The world notes every start and stop of a guest, the tenants what they asked for. A guest whose
payer is a contract starts after the money has moved, one whose payer is a key may run for a while
before; one that was stopped by its tenant stays down until somebody starts it.
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tests.chaos import payments

from pve402.domain import lease, order, power
from pve402.leases import oci_guests

Span = tuple[datetime, datetime]

_TAG = "lease-"
_HARDWARE = re.compile(r"hwaddr=([0-9A-Fa-f:]+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A time in which a lease's guest ran, and the newest block when it began."""

    lease_id: str
    began: datetime
    ended: datetime
    block: int
    vmid: int = 0
    shape: str = ""  # the size that it started with, and the card
    card: str = ""
    size: tuple[int, ...] = ()  # cores, MiB of memory, GiB of disk
    marks: int = 1  # how many leases its tags named
    lives: bool = True  # not what its OCI image says


@dataclasses.dataclass(frozen=True, kw_only=True)
class Absence:
    """A time in which no guest had a vmid that one had had before."""

    vmid: int
    began: datetime
    ended: datetime


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """A tenant's start, stop or reboot; the outcome of one without an answer is unknown."""

    lease_id: str
    wanted: power.Wanted
    asked_at: datetime
    answered_at: datetime | None


def read_runs(shown: Mapping[str, Any]) -> list[Run]:
    """What the world noted; what still runs ends now."""
    return [
        Run(
            lease_id=tag.removeprefix(_TAG),
            began=_time(run["began"]),
            ended=_time(run["ended"] or shown["now"]),
            block=run["head"],
            vmid=run["vmid"],
            shape=run["shape"],
            card=run["card"],
            size=tuple(run["size"]),
            marks=sum(tag.startswith(_TAG) for tag in run["tags"].split(";")),
            lives=run["program"] in {None, oci_guests.ENTRYPOINT},
        )
        for run in shown["runs"]
        for tag in run["tags"].split(";")
        if tag.startswith(_TAG)
    ]


def idle_pauses(leases: Sequence[lease.Lease]) -> Iterator[str]:
    """Name the leases that were paused though nobody wanted it."""
    for row in leases:
        is_by_service = row.is_paused and row.wanted_by is power.WantedBy.SERVICE
        if is_by_service and row.idle_pause_minutes is None:
            yield f"lease {row.lease_id} was paused by nobody's wish"


def pauses_by_itself(row: lease.Lease) -> bool:
    """Whether a lease is paused because it was idle for as long as its tenant chose."""
    by_service = row.wanted_by is power.WantedBy.SERVICE
    return row.is_paused and by_service and row.idle_pause_minutes is not None


def read_absences(shown: Mapping[str, Any]) -> list[Absence]:
    """What the world noted of guests that were destroyed."""
    return [
        Absence(
            vmid=one["vmid"], began=_time(one["began"]), ended=_time(one["ended"] or shown["now"])
        )
        for one in shown["absences"]
    ]


def strangers(
    leases: Sequence[lease.Lease], runs: Sequence[Run], resized: Collection[str]
) -> Iterator[str]:
    """Name the guests that ran with another lease's mark or card, or with another size."""
    cards: dict[str, set[str]] = defaultdict(set)
    rows = {row.lease_id: row for row in leases}
    for run in runs:
        if run.marks != 1:
            yield f"guest {run.vmid} ran with the marks of {run.marks} leases"
        if found := _HARDWARE.search(run.card):
            cards[found[1]].add(run.lease_id)
        row = rows.get(run.lease_id)
        if row is None or run.lease_id in resized or not run.size:
            continue
        wanted = (row.size.cores, row.size.memory_mb, row.size.disk_gb)
        if run.size != wanted:
            yield f"guest {run.vmid} of lease {run.lease_id} ran with {run.size}, not {wanted}"
    for card, owners in cards.items():
        if len(owners) > 1:
            yield f"the card {card} was that of the leases {', '.join(sorted(owners))}"


def unpaid_starts(
    orders: Sequence[order.Order],
    runs: Sequence[Run],
    signed: Sequence[payments.Signed],
    paid_in: Mapping[tuple[str, str], int],
) -> Iterator[str]:
    """Name the guests of contracts that were started before the block with the money."""
    kinds = {(one.payment.payer, one.nonce): one.payer.kind for one in signed}
    runs_of = by_lease(runs)
    for one in orders:
        kind = kinds.get((one.payer, one.nonce))
        if one.kind is not order.OrderKind.CREATION or kind is None or not kind.has_code:
            continue
        block = paid_in.get((one.payer, one.nonce))
        early = [run for run in runs_of[one.lease_id or ""] if block is None or run.block < block]
        if early:
            yield f"lease {one.lease_id} of a {kind.name} ran {len(early)} times without money"


def longest_unpaid_seconds(
    orders: Sequence[order.Order], runs: Sequence[Run], served: Sequence[Span]
) -> float:
    """How long the guest that ran unpaid for longest did so while a server could have stopped it.

    Unpaid is before its order is known to be settled, and after its paid time.
    """
    paid: dict[str | None, list[Span]] = defaultdict(list)
    for one in orders:
        is_time = one.kind is not order.OrderKind.FEE
        if is_time and one.settled_at is not None and one.expires_at is not None:
            paid[one.lease_id].append((one.settled_at, one.expires_at))
    return max(
        (
            _seconds_within(span, served)
            for run in runs
            for span in _without((run.began, run.ended), sorted(paid[run.lease_id]))
        ),
        default=0.0,
    )


def merged(spans: Iterable[Span]) -> list[Span]:
    """The time in which at least one of some spans was."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return found


def undone_wishes(
    leases: Sequence[lease.Lease], runs: Sequence[Run], wishes: Sequence[Wish]
) -> Iterator[str]:
    """Name the leases whose tenants asked for something else than what is."""
    rows = {row.lease_id: row for row in leases}
    wishes_of = by_lease(wishes)
    runs_of = by_lease(runs)
    for lease_id, asked in wishes_of.items():
        row, last = rows[lease_id], asked[-1]
        stands = row.status is lease.LeaseStatus.ACTIVE  # one that ended may have been rolling back
        stands &= not pauses_by_itself(row)
        if stands and last.answered_at is not None and row.wanted is not last.wanted:
            yield f"lease {lease_id} should be {last.wanted.value}, its row says {row.wanted.value}"
        for wish, after in zip(asked, [*asked[1:], None], strict=True):
            if wish.answered_at is None or wish.wanted is not power.Wanted.STOPPED:
                continue
            for run in runs_of[lease_id]:
                late = after is None or run.began < after.asked_at
                if wish.answered_at < run.began and late:
                    yield f"lease {lease_id} was stopped by its tenant, and started again"


def still_seconds(
    row: lease.Lease, span: Span, runs: Sequence[Run], absences: Sequence[Absence]
) -> tuple[float, float]:
    """For how long of a time, until its end, a lease had no guest, and none that ran."""
    whole = (span[0], min(span[1], row.expires_at or span[1]))
    gone = [(one.began, one.ended) for one in absences if one.vmid == row.vmid]
    up = merged((run.began, run.ended) for run in runs if run.lease_id == row.lease_id)
    length = max(0.0, (whole[1] - whole[0]).total_seconds())
    return _seconds_within(whole, gone), length - _seconds_within(whole, up)


def by_lease(things: Sequence[Any]) -> Mapping[str, list[Any]]:
    """Runs or wishes of each lease, in their order; none for any other."""
    found: dict[str, list[Any]] = defaultdict(list)
    for thing in things:
        found[thing.lease_id].append(thing)
    return found


def _without(whole: Span, parts: Sequence[Span]) -> Iterator[Span]:
    """What is left of a time without some others, which are in order."""
    at, end = whole
    for begin, over in parts:
        if begin > at:
            yield at, min(begin, end)
        at = max(at, over)
        if at >= end:
            return
    yield at, end


def _seconds_within(span: Span, others: Sequence[Span]) -> float:
    common = ((max(span[0], begin), min(span[1], end)) for begin, end in others)
    return sum((end - begin).total_seconds() for begin, end in common if end > begin)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
