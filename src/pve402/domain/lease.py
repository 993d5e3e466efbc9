"""A lease: the right to one guest until it expires; its states and their legal transitions."""

import dataclasses
import re
import secrets
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Self

from pve402.domain import errors, inbound, networks, power, rows

_LEASE_ID = re.compile(r"l[0-9a-z]{25}")
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


class LeaseStatus(Enum):
    """The state of a lease; the values are stored and must not change."""

    RESERVED = "reserved"  # order, vmid and capacity are stored; Proxmox may have been called
    CREATING = "creating"  # Proxmox runs the creation task
    STARTING = "starting"  # the guest exists and is being started
    SETTLING = "settling"  # the guest is created, and running unless it is paid before it starts
    ACTIVE = "active"  # paid, handed over, running until expires_at
    STOPPING = "stopping"  # time is up; the guest is being shut down
    STOPPED = "stopped"  # the guest is down; a renewal before deletes_at brings it back
    DELETING = "deleting"  # the guest is being destroyed
    ENDED = "ended"  # the guest is gone after its lease
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
        | {LeaseStatus.ENDED, LeaseStatus.POOLED, LeaseStatus.RESERVED, LeaseStatus.STOPPED}
    ),
    LeaseStatus.SETTLING: frozenset(
        {LeaseStatus.ACTIVE, LeaseStatus.STARTING, LeaseStatus.RESERVED, LeaseStatus.UNWINDING}
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
"""The owner of a guest that was created before it has a tenant."""

DOCTOR = "doctor"
"""The owner of a trial guest, which shows for some minutes what guests can do; no account."""

IMAGE = "image"
"""The owner of a prepared image: a template that guests are cloned from; no account."""

PRIVATE = f"{IMAGE}:"
"""What stands before the account of a private image's owner, so that it is no tenant's lease."""

PRIVATE_TEMPLATE = "private/"
"""What the template of a lease from a private image begins with."""

LONGEST_TRIAL = timedelta(minutes=15)
"""When a trial that only its guest's description tells of is over."""

REINSTALL_HOLD = "reinstall"
"""Holds a lease, in the place of an order, while its guest is destroyed and made anew."""

OVER = frozenset({LeaseStatus.ENDED, LeaseStatus.FAILED})
"""Final states."""

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
    """Return whether a lease may go directly from one state to the other."""
    return after in TRANSITIONS[before]


def is_usable(status: LeaseStatus, expires_at: datetime | None, now: datetime) -> bool:
    """Return whether the tenant may act inside the guest.

    A renewal with an unknown outcome keeps the lease from ending, but gives no access until it
    settles.
    """
    return status is LeaseStatus.ACTIVE and expires_at is not None and expires_at > now


def new_lease_id() -> str:
    """Return a new lease id: a letter, then 25 lower-case letters and digits (129 bits)."""
    return "l" + "".join(secrets.choice(_ALPHABET) for _ in range(25))


def made_again(old: "Lease") -> "Lease":
    """Return the lease that takes the place of one whose guest is given up; not placed yet."""
    return old.evolve(
        lease_id=new_lease_id(),
        status=LeaseStatus.RESERVED,
        upid=None,
        create_sent_at=None,
        base=None,
        pooled_at=None,
        fence=None,
    )


def is_lease_id(text: str) -> bool:
    """Return whether text is a leaseId, not a ctid (all digits) or anything else."""
    return _LEASE_ID.fullmatch(text) is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """The size of a guest. As in Proxmox, one GB is one GiB and one MB one MiB."""

    cores: int
    memory_mb: int
    disk_gb: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lease:
    """One row of the lease table; times are aware UTC, None until they are known."""

    lease_id: str
    status: LeaseStatus
    node: str
    vmid: int
    owner: str  # CAIP-10 account, EVM addresses in lower case; or NOBODY, DOCTOR, IMAGE;
    # PRIVATE and an account
    sku: str
    size: Size
    hostname: str
    template: str
    rates: Mapping[str, str]  # the sku's rates at creation, in case the sku goes away
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
    pooled_at: datetime | None = None  # since when it was warm; None: created for its tenant
    wanted: power.Wanted = power.Wanted.RUNNING
    wanted_by: power.WantedBy = power.WantedBy.SERVICE
    suspension: power.Suspension | None = None
    client_address: str | None = None  # of the buyer; an IPv6 client's subnet
    network: str = networks.OF_VARIABLES  # the name of its profile
    addresses: Mapping[str, str] = dataclasses.field(default_factory=dict)  # from pools, by family
    address_count: int = 0  # known addresses that its guest has, or is to be given
    link: networks.Link = networks.Link.READY
    rules_at: datetime | None = None  # since when its isolation rules stand on its guest
    rules_key: str | None = None  # names the choices that those rules were made of
    openings: tuple[inbound.Opening, ...] | None = None  # let in; None: as its network has it
    made_of: str | None = None  # digest of what its guest is made from; None: not recorded
    storage: str | None = None  # of its guest's disk; None: not recorded
    base: str | None = None  # the row of the guest that its own is, or may become, a clone of
    forked_from: str | None = None  # the lease whose guest its own is a copy of, and nothing else
    balance: int | None = None  # of its meter; None: written by an earlier version
    burn: int | None = None
    metered_at: datetime | None = None
    pause_asked_at: datetime | None = None  # a pause is wanted, and the guest was not seen down yet
    paused_at: datetime | None = None  # since when it burns less, and keeps only its disk
    paused: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # its meter meanwhile
    snapshot_gb: int | None = None  # of its snapshots that burn; None: none does
    snapshot_burn: int | None = None  # what they burn a minute, in the meter's units
    wakes: int = 0
    wakes_since: datetime | None = None
    active_at: datetime | None = None  # last seen in use; only if it is paused when idle
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Build a lease from a complete row of the lease table."""
        facts = dict(row)
        facts["status"] = LeaseStatus(facts["status"])
        facts["wanted"] = power.Wanted(facts["wanted"])
        facts["wanted_by"] = power.WantedBy(facts["wanted_by"])
        facts["suspension"] = _suspension(facts)
        facts["link"] = networks.Link(facts["link"])
        facts["openings"] = inbound.from_list(facts["openings"].get("openings"))
        facts["size"] = Size(
            cores=facts.pop("cores"),
            memory_mb=facts.pop("memory_mb"),
            disk_gb=facts.pop("disk_gb"),
        )
        return rows.made(cls, facts)

    def evolve(self, **changes: Any) -> Self:
        """Return a copy with some fields replaced."""
        return dataclasses.replace(self, **changes)

    @property
    def is_unowned(self) -> bool:
        """Whether no tenant leases its guest: of the warm pool, discarded, a trial, or an image."""
        return self.owner == NOBODY or self.is_trial or self.is_image or self.is_private_image

    @property
    def is_image(self) -> bool:
        """Whether its guest is a prepared image: never sold, never started, STOPPED when ready."""
        return self.owner == IMAGE

    @property
    def is_private_image(self) -> bool:
        """Whether its guest is a tenant's private image: a template, never started."""
        return self.owner.startswith(PRIVATE)

    @property
    def is_copy(self) -> bool:
        """Whether its guest is a copy of a tenant's disk, so that it runs that tenant's programs.

        It is a fork, or from a private image.
        """
        return self.forked_from is not None or self.template.startswith(PRIVATE_TEMPLATE)

    @property
    def copies_disk(self) -> bool:
        """Whether its guest is made by copying a tenant's disk: it is a copy or a private image."""
        return self.is_copy or self.is_private_image

    @property
    def account(self) -> str:
        """The account of its owner, also if it is a private image."""
        return self.owner.removeprefix(PRIVATE)

    @property
    def is_trial(self) -> bool:
        """Whether its guest shows what guests can do: never sold, and gone within minutes."""
        return self.owner == DOCTOR

    @property
    def has_card(self) -> bool:
        """Whether its guest has a network card: neither an image nor the trial of one has."""
        is_any_image = self.is_image or self.is_private_image
        return not is_any_image and bool(self.network or not self.is_trial)

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
    def is_paused(self) -> bool:
        """Whether it is paused, or to be paused."""
        return self.paused_at is not None or self.pause_asked_at is not None

    @property
    def is_emptied(self) -> bool:
        """Whether its guest is being destroyed and made anew, so that there may be none."""
        return self.hold_order_id == REINSTALL_HOLD

    def is_woken_by(self, use: power.Use) -> bool:
        """Whether it is paused, or to be, and its tenant chose that this wakes it."""
        return self.is_paused and use.value in self.wake_on

    @property
    def wake_on(self) -> tuple[str, ...]:
        """What wakes it when it is paused, besides a start: values of `power.Use`."""
        return tuple(self.metadata.get("wakeOn", ()))

    @property
    def idle_pause_minutes(self) -> int | None:
        """After how many idle minutes its tenant wants it paused; None: never."""
        return self.metadata.get("idlePauseMinutes")

    @property
    def is_watched(self) -> bool:
        """Whether it is looked at, since it is to be paused once it is idle; also while held."""
        is_up = self.status is LeaseStatus.ACTIVE and self.is_to_run and not self.is_paused
        return bool(self.idle_pause_minutes) and is_up

    @property
    def needs_room_again(self) -> bool:
        """Whether a renewal starts its guest, whose cores and memory others may have by now."""
        keeps_disk_alone = self.paused_at is not None or self.is_private_image
        return self.status is LeaseStatus.STOPPED and not keeps_disk_alone

    @property
    def is_to_run(self) -> bool:
        """Whether the guest should run as long as the lease lasts."""
        return self.wanted is power.Wanted.RUNNING

    def check_usable(self, now: datetime) -> None:
        """Raise LeaseSuspended, or LeaseNotReady if it is not active or its paid time is over."""
        self.check_not_suspended()
        if not is_usable(self.status, self.expires_at, now):
            raise errors.LeaseNotReady

    def check_not_suspended(self) -> None:
        """Raise LeaseSuspended, with the operator's reason, if the lease is suspended."""
        if self.suspension is not None:
            raise errors.LeaseSuspended(self.suspension.reason)

    @property
    def handed_over(self) -> bool:
        """Whether the tenant was ever given this lease."""
        return self.expires_at is not None


def _suspension(facts: dict[str, Any]) -> power.Suspension | None:
    """Take the columns of a suspension out of a row."""
    reason, since = facts.pop("suspend_reason"), facts.pop("suspended_at")
    time_held, resumes_to = facts.pop("time_held"), facts.pop("resumes_to")
    if since is None:
        return None
    return power.Suspension(
        reason=reason or "",
        since=since,
        time_held=time_held,
        resumes_to=power.Wanted(resumes_to or power.Wanted.RUNNING.value),
    )
