"""Snapshots of a lease's guest: their names, their states, and what can be refused about them.

SnapshotsOff, SnapshotsNotPossible, SnapshotExists, ContainerLocked    409
SnapshotNotFound                                                       404
TooManySnapshots                                                       429
SnapshotFailed                                                         502
"""

import dataclasses
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Final, Self

from pve402.domain import errors, rows

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{1,39}")
_RESERVED: Final = frozenset({"current", "vzdump"})
_PREFIX: Final = "pve402-"
TEMPORARY: Final = "~fork"
"""The name of a snapshot that is taken to copy it, and goes with the copies; no tenant's name."""
_RANDOM_BYTES: Final = 10
MOST_ALLOWED: Final = 50
"""The most that an operator may allow for each lease."""


class SnapshotsOff(errors.Conflict):
    """The operator allows no snapshots."""

    detail = "This service takes no snapshots; nothing was charged."
    code = "snapshots_off"


class SnapshotsNotPossible(errors.Conflict):
    """The storage of the guest's disk takes no snapshots."""

    detail = "The storage of this container's disk takes no snapshots; nothing was charged."
    code = "snapshots_not_possible"


class SnapshotExists(errors.Conflict):
    """The lease has a snapshot of that name."""

    detail = "This container already has a snapshot of that name."
    code = "snapshot_exists"


class ContainerLocked(errors.Conflict):
    """Something else, such as a backup, has locked the guest on Proxmox VE."""

    detail = (
        "The container is locked on its node, by a backup perhaps; nothing was changed. Try again"
        " later."
    )
    code = "container_locked"
    retry_after_seconds = 60


class SnapshotNotFound(errors.LeaseNotFound):
    """The lease has no snapshot of that name."""

    detail = "This container has no snapshot of that name."
    code = "snapshot_not_found"


class TooManySnapshots(errors.TooMany):
    """The lease has as many snapshots as the operator allows."""

    detail = "This container has as many snapshots as it may have; delete one first."
    code = "too_many_snapshots"
    retry_after_seconds = None


class SnapshotFailed(errors.Pve402Error):
    """Proxmox VE could not take the snapshot, or roll back to it."""

    detail = "Proxmox VE could not do this; the container is as it was before."
    code = "snapshot_failed"


NOT_DELETED: Final = "snapshot_not_deleted"
"""The problem of a snapshot that Proxmox VE has not deleted yet; no refusal has this code."""


class State(Enum):
    """Where a snapshot is; the values are stored and must not change."""

    TAKING = "taking"  # Proxmox is asked, or about to be
    THERE = "there"  # seen on Proxmox
    FAILED = "failed"  # it could not be taken, and is not on Proxmox
    ROLLING_BACK = "rolling_back"  # the guest is down until it has its size, card and mark again
    DELETING = (
        "deleting"  # to be removed from Proxmox; then its row goes, or has FAILED if half made
    )


UNFINISHED: Final = frozenset({State.TAKING, State.ROLLING_BACK, State.DELETING})
"""States that a worker ends; a lease has one snapshot in them at a time."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One row of the table of snapshots; times are aware UTC."""

    lease_id: str
    name: str  # the tenant's
    pve_name: str  # ours, on Proxmox; never used twice
    state: State
    created_at: datetime
    asked_at: datetime | None = None  # when Proxmox was last asked; None: not, or it is done
    upid: str | None = dataclasses.field(default=None, repr=False)
    resumes_to: str | None = None  # what was wanted of the guest before a rollback
    kept: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    """The guest's own options from before a rollback, as Proxmox writes them."""
    problem: str | None = None  # the code of what went wrong last
    gb: int | None = None  # of the guest's disk when it was taken; None: it burns nothing
    burn: int | None = None  # what it burns a minute, in the meter's units, until it is gone
    burns_since: datetime | None = None  # held time moves it

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Build a snapshot from a complete row."""
        return rows.made(cls, {**row, "state": State(row["state"])})

    @property
    def is_temporary(self) -> bool:
        """Whether it is none of the tenant's: the guest is being copied."""
        return self.name == TEMPORARY

    @property
    def is_unfinished(self) -> bool:
        """Whether a worker still has to do something about it."""
        return self.state in UNFINISHED


def check_name(name: str) -> str:
    """Return a name that a tenant may give. Raises InvalidRequest."""
    if _NAME.fullmatch(name) is None or name.lower() in _RESERVED:
        raise errors.InvalidRequest(
            "name must begin with a letter and have 2 to 40 letters, digits, - and _; it must not"
            " be `current` or `vzdump`"
        )
    return name


def new_pve_name() -> str:
    """Return the name of a new snapshot on Proxmox: an operator's can never be the same."""
    return _PREFIX + secrets.token_hex(_RANDOM_BYTES)


def refusal(problem: str | None) -> errors.Pve402Error | None:
    """Return what tells a tenant about the problem that is in a row."""
    if problem is None:
        return None
    known = (SnapshotsNotPossible, ContainerLocked)
    return next((kind() for kind in known if kind.code == problem), SnapshotFailed())


def told(problem: str | None) -> str | None:
    """Return the code that a tenant is shown for the problem in a row."""
    if problem == NOT_DELETED:
        return problem
    refused = refusal(problem)
    return None if refused is None else refused.code
