"""A change of a lease's size: what it may become, at which rates it burns then, how it goes.

ChangeRefused                               the operator's catalogue or Proxmox VE does not allow it
├── NoLongerSold, NeedsRestart, TooLittleTimeLeft    409
└── ChangeFailed                                     502

A lease that gets less of everything keeps the rates that its time was bought at. One that gets more
of anything burns at today's rates from then on, but never below those that it had, so nobody gets
cheaper by going up and down.
"""

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final, Self

from pve402.domain import catalogue, errors, lease, meter, price, rows, snapshots

LEAST_MINUTES_LEFT: Final = 5
"""A lease that would end sooner than that after a change is not changed."""
REST_AFTER_FAILURE: Final = timedelta(minutes=10)
"""How long after the beginning of a change that failed nobody may begin another: it held capacity,
and may have given the guest more for a while, and was not paid for."""
DIMENSIONS: Final = ("cores", "memory_mb", "disk_gb")


class NoLongerSold(errors.Conflict):
    """The lease's sku is not on sale any more, so nobody knows what a size costs."""

    detail = "This container's sku is no longer on sale, so its size stays as it is."
    code = "no_longer_sold"


class TooLittleTimeLeft(errors.Conflict):
    """What is paid would last only a moment for this size."""

    detail = (
        f"What is paid would last less than {LEAST_MINUTES_LEFT} minutes for this size; renew the"
        " lease first. Nothing was changed."
    )
    code = "too_little_time_left"


class NeedsRestart(errors.Conflict):
    """The running guest cannot get this size, and its tenant allowed no restart."""

    detail = (
        "The container cannot get this size while it runs. Allow a restart (allowRestart), or stop"
        " it first. Its size is as it was."
    )
    code = "needs_restart"


class ChangeFailed(errors.Pve402Error):
    """Proxmox VE did not give the guest this size."""

    detail = (
        "Proxmox VE did not give the container this size; its size and its price are as before."
    )
    code = "change_failed"


class State(Enum):
    """Where a change is; the values are stored and must not change."""

    CHANGING = "changing"  # a worker gives the guest its size; what becomes more is taken already
    UNDOING = "undoing"  # it could not be done and costs nothing; the guest may still differ
    DONE = "done"  # the guest was seen with its size
    FAILED = "failed"  # the guest was seen with the size of before


UNFINISHED: Final = frozenset({State.CHANGING, State.UNDOING})
"""States that a worker ends."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SizeChange:
    """The latest change of a lease's size; times are aware UTC."""

    lease_id: str
    state: State
    created_at: datetime
    before: lease.Size
    after: lease.Size
    burn_before: int
    burn_after: int
    rates_after: Mapping[str, str]
    since: datetime  # from when on the lease burns for what becomes more; held time moves it
    may_restart: bool  # the tenant allows that the guest is stopped for it
    began_at: datetime | None = None  # when Proxmox was first asked for what becomes more
    asked_at: datetime | None = None  # when it was asked last; None: not, or it has answered
    upid: str | None = dataclasses.field(default=None, repr=False)  # of the disk's growth
    disk_bytes: int | None = None  # of the running guest's file system before the disk grew
    kept: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    """The options of before that depend on the size, as Proxmox writes them."""
    resumes_to: str | None = None  # what was wanted of a guest that is down for it
    problem: str | None = None  # the code of what kept it from being done

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Build a change from a complete row."""
        facts = dict(row)
        before = lease.Size(**{name: facts.pop(f"{name}_before") for name in DIMENSIONS})
        after = lease.Size(**{name: facts.pop(f"{name}_after") for name in DIMENSIONS})
        facts |= {"state": State(facts["state"]), "before": before, "after": after}
        return rows.made(cls, facts)

    @property
    def is_unfinished(self) -> bool:
        """Whether a worker still has to do something about it."""
        return self.state in UNFINISHED

    def rests_until(self, wish: "Wish") -> datetime | None:
        """Return until when nobody may ask for this; None: it may be asked for.

        A tenant whose guest cannot change while it runs may allow a restart at once.
        """
        if self.state is not State.FAILED:
            return None
        if self.problem == NeedsRestart.code and wish.may_restart:
            return None
        return self.created_at + REST_AFTER_FAILURE

    @property
    def held_size(self) -> lease.Size:
        """What the lease takes up meanwhile: the larger of both, in each dimension."""
        return larger(self.before, self.after)

    def begun(self, metered: meter.Meter, moment: datetime) -> meter.Meter:
        """Return the meter of a lease from the beginning on: nobody gets more unpaid."""
        return metered.changed(max(self.burn_before, self.burn_after), moment)

    def ended(self, metered: meter.Meter, moment: datetime) -> meter.Meter:
        """Return it once the guest was seen with its size; before it was asked for it cost less."""
        until = self.began_at or moment
        given_back = metered.given_back(self.burn_before, self.since, until, moment)
        return given_back.changed(self.burn_after, moment)

    def undone(self, metered: meter.Meter, moment: datetime) -> meter.Meter:
        """Return it as if there had been no change."""
        given_back = metered.given_back(self.burn_before, self.since, moment, moment)
        return dataclasses.replace(given_back, burn=self.burn_before).at(moment)

    def held(self, passed: timedelta) -> Self:
        """Return the change after some time in which the lease burnt nothing."""
        began_at = None if self.began_at is None else self.began_at + passed
        return dataclasses.replace(self, since=self.since + passed, began_at=began_at)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """What a tenant wants to change; None stays as it is."""

    cores: int | None = None
    memory_mb: int | None = None
    disk_gb: int | None = None
    may_restart: bool = False

    def size_for(self, row: lease.Lease, sold: catalogue.Catalogue) -> lease.Size:
        """Return the size that a lease gets.

        Raises NoLongerSold, OutOfBounds for what is to change (today's bounds count), and
        InvalidRequest for a smaller disk.
        """
        given = {name: getattr(self, name) for name in DIMENSIONS}
        wanted = {name: value for name, value in given.items() if value is not None}
        size = dataclasses.replace(row.size, **wanted)
        sku = sold.skus.get(row.sku)
        if sku is None:
            raise NoLongerSold
        for name, word in (("cores", "cores"), ("memory_mb", "memoryMB"), ("disk_gb", "diskGB")):
            if getattr(size, name) != getattr(row.size, name):
                getattr(sku, name).check(word, getattr(size, name))
        if size.disk_gb < row.size.disk_gb:
            raise errors.InvalidRequest("diskGB can only become larger: a disk never shrinks")
        return size


def larger(one: lease.Size, other: lease.Size) -> lease.Size:
    """Return the larger size in each dimension."""
    return lease.Size(
        **{name: max(getattr(one, name), getattr(other, name)) for name in DIMENSIONS}
    )


def growth(before: lease.Size, after: lease.Size) -> lease.Size:
    """Return what becomes more, in each dimension."""
    more = larger(before, after)
    return lease.Size(**{name: getattr(more, name) - getattr(before, name) for name in DIMENSIONS})


def rates_after(
    stored: Mapping[str, str], today: price.Rates, before: lease.Size, after: lease.Size
) -> dict[str, str]:
    """Return the rates that a lease burns at after a change; see the module."""
    if not stored:  # a lease of which nobody knows what it was sold at
        return today.to_strings()
    if larger(before, after) == before:
        return dict(stored)
    kept = price.Rates.from_strings(stored)
    dearer = {
        field.name: max(getattr(kept, field.name), getattr(today, field.name))
        for field in dataclasses.fields(price.Rates)
    }
    return price.Rates(**dearer).to_strings()


def refusal(problem: str | None) -> errors.Pve402Error | None:
    """Return what tells a tenant about the problem that is in a row."""
    if problem is None:
        return None
    known = (NeedsRestart, snapshots.ContainerLocked)
    return next((kind() for kind in known if kind.code == problem), ChangeFailed())
