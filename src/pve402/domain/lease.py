"""A lease: the right to one guest until it expires, its states, and which may follow which."""

import dataclasses
import re
import secrets
from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Self

from pve402.domain import power, rows

_LEASE_ID = re.compile(r"l[0-9a-z]{25}")
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


class LeaseStatus(Enum):
    """Where a lease stands; the words are stored and must not change."""

    RESERVED = "reserved"  # order, vmid and capacity are written; Proxmox may have been asked
    CREATING = "creating"  # Proxmox runs the creation task
    STARTING = "starting"  # the guest exists and is being started
    SETTLING = "settling"  # the guest is made, and runs unless the money comes first
    ACTIVE = "active"  # paid, handed over, running until expires_at
    STOPPING = "stopping"  # over; the guest is being shut down
    STOPPED = "stopped"  # the guest is down; a renewal until deletes_at brings it back
    DELETING = "deleting"  # the guest is being destroyed
    ENDED = "ended"  # the guest is gone after a life
    UNWINDING = "unwinding"  # never handed over; the guest is being destroyed
    FAILED = "failed"  # the guest is gone and nothing was charged
    POOLED = "pooled"  # ready, without an owner yet


TRANSITIONS: Mapping[LeaseStatus, frozenset[LeaseStatus]] = {
    LeaseStatus.RESERVED: frozenset({LeaseStatus.CREATING, LeaseStatus.UNWINDING}),
    LeaseStatus.CREATING: frozenset(
        {LeaseStatus.STARTING, LeaseStatus.SETTLING, LeaseStatus.RESERVED, LeaseStatus.UNWINDING}
    ),
    LeaseStatus.STARTING: frozenset(
        {LeaseStatus.SETTLING, LeaseStatus.ACTIVE, LeaseStatus.STOPPING, LeaseStatus.UNWINDING}
        | {LeaseStatus.ENDED, LeaseStatus.POOLED, LeaseStatus.RESERVED}
    ),
    LeaseStatus.SETTLING: frozenset(
        {LeaseStatus.ACTIVE, LeaseStatus.STARTING, LeaseStatus.UNWINDING}
    ),
    LeaseStatus.ACTIVE: frozenset({LeaseStatus.STOPPING, LeaseStatus.ENDED}),
    LeaseStatus.STOPPING: frozenset({LeaseStatus.STOPPED, LeaseStatus.DELETING, LeaseStatus.ENDED}),
    LeaseStatus.STOPPED: frozenset(
        {LeaseStatus.STARTING, LeaseStatus.STOPPING, LeaseStatus.DELETING, LeaseStatus.ENDED}
    ),
    LeaseStatus.DELETING: frozenset({LeaseStatus.ENDED}),
    LeaseStatus.UNWINDING: frozenset({LeaseStatus.FAILED}),
    LeaseStatus.POOLED: frozenset({LeaseStatus.SETTLING, LeaseStatus.UNWINDING}),
    LeaseStatus.ENDED: frozenset(),
    LeaseStatus.FAILED: frozenset(),
}

NOBODY = ""
"""The owner of a guest that is made ahead of its tenant."""

OVER = frozenset({LeaseStatus.ENDED, LeaseStatus.FAILED})
"""States that nothing follows."""

_TENANT_WORDS = {
    LeaseStatus.RESERVED: "provisioning",
    LeaseStatus.CREATING: "provisioning",
    LeaseStatus.SETTLING: "provisioning",
    LeaseStatus.UNWINDING: "failed",
    LeaseStatus.FAILED: "failed",
    LeaseStatus.ACTIVE: "active",
    LeaseStatus.STOPPING: "stopping",
    LeaseStatus.STOPPED: "stopped",
    LeaseStatus.DELETING: "ended",
    LeaseStatus.ENDED: "ended",
    LeaseStatus.POOLED: "provisioning",
}


def may_follow(before: LeaseStatus, after: LeaseStatus) -> bool:
    """Tell whether a lease may go from one state straight to the other."""
    return after in TRANSITIONS[before]


def is_usable(status: LeaseStatus, expires_at: datetime | None, now: datetime) -> bool:
    """Tell whether its tenant may do anything inside the guest.

    A renewal whose outcome is unknown keeps a lease from its end, and buys nothing before it is
    settled.
    """
    return status is LeaseStatus.ACTIVE and expires_at is not None and expires_at > now


def new_lease_id() -> str:
    """Return a fresh identity: a letter, then 25 lower-case letters and digits (129 bits)."""
    return "l" + "".join(secrets.choice(_ALPHABET) for _ in range(25))


def is_lease_id(text: str) -> bool:
    """Tell a leaseId from a ctid (which is all digits) and from noise."""
    return _LEASE_ID.fullmatch(text) is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """The shape of a guest. One GB is one GiB and one MB one MiB, as Proxmox counts them."""

    cores: int
    memory_mb: int
    disk_gb: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lease:
    """One row of the lease table; times are aware UTC, None where they have not come yet."""

    lease_id: str
    status: LeaseStatus
    node: str
    vmid: int
    owner: str  # CAIP-10 account, EVM addresses in lower case; NOBODY in the warm pool
    sku: str
    size: Size
    hostname: str
    template: str
    rates: Mapping[str, str]  # the sku's rates when the lease was made, for when the sku is gone
    created_at: datetime
    expires_at: datetime | None = None
    deletes_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: str | None = None
    due_at: datetime | None = None
    fence: str | None = None
    attempts: int = 0
    last_error: str | None = None
    hold_order_id: str | None = None
    hold_until: datetime | None = None
    upid: str | None = dataclasses.field(default=None, repr=False)
    create_sent_at: datetime | None = None
    restarts: int = 0
    restarts_since: datetime | None = None
    pooled_at: datetime | None = None  # since when it was warm; None: made for its tenant
    wanted: power.Wanted = power.Wanted.RUNNING
    wanted_by: power.WantedBy = power.WantedBy.SERVICE
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Build the value from one whole row of the lease table."""
        facts = dict(row)
        facts["status"] = LeaseStatus(facts["status"])
        facts["wanted"] = power.Wanted(facts["wanted"])
        facts["wanted_by"] = power.WantedBy(facts["wanted_by"])
        facts["size"] = Size(
            cores=facts.pop("cores"),
            memory_mb=facts.pop("memory_mb"),
            disk_gb=facts.pop("disk_gb"),
        )
        return rows.made(cls, facts)

    def evolve(self, **changes: Any) -> Self:
        """Return a copy with some facts replaced."""
        return dataclasses.replace(self, **changes)

    @property
    def is_unowned(self) -> bool:
        """Whether nobody has it: it is made for the warm pool, waits there, or is discarded."""
        return self.owner == NOBODY

    @property
    def ctid(self) -> str:
        """The vmid as tenants see it: a decimal string."""
        return str(self.vmid)

    @property
    def tenant_status(self) -> str:
        """The state in tenants' words: provisioning, active, stopping, stopped, ended, failed."""
        if self.status is LeaseStatus.STARTING:
            return "provisioning" if self.expires_at is None else "stopped"
        return _TENANT_WORDS[self.status]

    @property
    def is_to_run(self) -> bool:
        """Whether the guest is wanted running, as long as the lease's time lasts."""
        return self.wanted is power.Wanted.RUNNING

    @property
    def handed_over(self) -> bool:
        """Whether the tenant was ever given this lease."""
        return self.expires_at is not None
