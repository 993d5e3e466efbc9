"""A reinstallation of a lease: a fresh guest, of any image of its sku, in the place of the old.

ReinstallRefused                            nothing was done
├── HasSnapshots, AddressNotKept    409
└── ReinstallFailed                 502

The lease keeps its number, addresses, hardware address, name, size and end. From the moment that
its old guest is given up until the new one was seen, its time stands still.
"""

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final, Self

from pve402.domain import (
    catalogue,
    errors,
    private_images,
    request,
    rows,
    snapshots,
    user_data,
    variables,
)

LEAST_LEFT: Final = timedelta(minutes=2)
"""A lease that ends sooner than that is not reinstalled."""
REST: Final = timedelta(minutes=1)
"""How long after its end the same call is the same reinstallation, and another one has to wait."""
NOT_MADE: Final = "not_created"
"""What a row says while Proxmox VE does not make the new guest, and why nobody can tell here."""
NUMBER_TAKEN: Final = "number_taken"
"""What it says while somebody else's guest has the lease's number."""


class HasSnapshots(errors.Conflict):
    """The lease has snapshots, and its tenant did not say that they may go."""

    detail = (
        "This container has snapshots, which go with its old disk. Say deleteSnapshots to delete"
        " them. Nothing was changed."
    )
    code = "has_snapshots"


class AddressNotKept(errors.Conflict):
    """The cluster gives guests of the lease's network their addresses, and would give another."""

    detail = (
        "The network of this container gives each new container another address, so it cannot be"
        " reinstalled. Nothing was changed."
    )
    code = "address_not_kept"


class ReinstallFailed(errors.Pve402Error):
    """The old guest could not be given up, and is as it was."""

    detail = "The container could not be reinstalled; it is as it was before."
    code = "reinstall_failed"


class State(Enum):
    """Where a reinstallation is; the values are stored and must not change."""

    STOPPING = "stopping"  # the old guest is stopped and looked at; nothing is lost yet
    EMPTYING = "emptying"  # it is destroyed
    MAKING = "making"  # it is gone, and the new one is made
    DONE = "done"  # the new one was seen
    FAILED = "failed"  # the old guest is there, and was not touched


UNFINISHED: Final = frozenset({State.STOPPING, State.EMPTYING, State.MAKING})
"""States that a worker ends."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reinstall:
    """The latest reinstallation of a lease; times are aware UTC."""

    lease_id: str
    reinstall_id: str  # what its secrets are sealed for
    state: State
    created_at: datetime
    request_hash: str
    template: str  # volume id
    order_id: str | None = None  # the lease's own, which its variables and script belong to
    ended_at: datetime | None = None
    asked_at: datetime | None = None  # when Proxmox was asked for what may still happen
    upid: str | None = dataclasses.field(default=None, repr=False)
    hardware_address: str | None = None  # of the card
    resumes_to: str | None = None  # what was wanted of the guest
    problem: str | None = None  # why it failed, or what it waits for
    kept: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    """What the lease's metadata say of the new guest."""
    sealed_secrets: bytes | None = dataclasses.field(default=None, repr=False)
    sealed_env: bytes | None = dataclasses.field(default=None, repr=False)
    sealed_script: bytes | None = dataclasses.field(default=None, repr=False)
    script_needs_network: bool = True

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Build a reinstallation from a complete row."""
        return rows.made(cls, {**row, "state": State(row["state"])})

    @property
    def is_unfinished(self) -> bool:
        """Whether a worker still has to do something about it."""
        return self.state in UNFINISHED

    @property
    def may_be_replaced(self) -> bool:
        """Whether the old guest is gone, and the new one certainly not being made."""
        return self.state is State.MAKING and self.problem is not None and self.asked_at is None

    def rests_until(self) -> datetime | None:
        """Return until when no other may be asked for; None: nothing was done."""
        return None if self.state is State.FAILED or not self.ended_at else self.ended_at + REST


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wish:
    """What a tenant wants its lease to become. The password never appears in a repr."""

    template: str | None = None  # one of the sku's; None: what the lease is made of
    password: str | None = dataclasses.field(default=None, repr=False)
    ssh_public_keys: tuple[str, ...] = ()  # with no password either: those that it was leased with
    env: Mapping[str, str] | None = dataclasses.field(default=None, repr=False)  # None: as before
    user_data: str | None = dataclasses.field(default=None, repr=False)
    user_data_skips_network: bool = False
    delete_snapshots: bool = False

    def check(self) -> None:
        """Raise the InvalidRequest that says what cannot be had of any container."""
        if self.password is not None:
            request.check_password(self.password)
        request.check_ssh_keys(self.ssh_public_keys)
        if self.env is not None:
            variables.check(self.env)
        if self.user_data is not None:
            user_data.check(self.user_data)

    def with_keys_of(self, metadata: Mapping[str, Any]) -> Self:
        """Return it with the keys that a lease was bought with, if it names no way to log in.

        Raises CredentialRequired if there are none.
        """
        if self.password is not None or self.ssh_public_keys:
            return self
        keys = tuple(metadata.get("sshPublicKeys", ()))
        if not keys:
            raise errors.CredentialRequired
        return dataclasses.replace(self, ssh_public_keys=keys)

    def volume_for(self, sku: catalogue.Sku, made_of: str, default: str) -> str:
        """Return the volume id of the template. Raises UnknownTemplate if it is not on sale."""
        if private_images.chosen(self.template or made_of) is not None:
            raise errors.UnknownTemplate(
                "A container is not reinstalled from a private image; lease a new one from it, or"
                " name one of the sku's templates."
            )
        if self.template is not None or not made_of:
            return sku.template_volume(self.template, default)
        if made_of not in {*sku.templates.values(), sku.template_volume(None, default)}:
            raise errors.UnknownTemplate("What this container is made of is no longer on sale.")
        return made_of

    def canonical(self) -> dict[str, Any]:
        """Return everything that makes two requests the same, secrets included."""
        return dataclasses.asdict(self)

    def kept(self, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return the lease's metadata once it has its new guest: no secrets."""
        given: dict[str, Any] = {
            "template": self.template or before.get("template"),
            "sshPublicKeys": list(self.ssh_public_keys),
            "env": before.get("env") if self.env is None else sorted(self.env),
            "userData": self.user_data is not None,
        }
        rest = {name: value for name, value in before.items() if name not in given}
        return {**rest, **{name: value for name, value in given.items() if value}}


def refusal(problem: str | None) -> errors.Pve402Error | None:
    """Return what tells a tenant about the problem of a reinstallation that failed."""
    if problem is None:
        return None
    is_locked = problem == snapshots.ContainerLocked.code
    return snapshots.ContainerLocked() if is_locked else ReinstallFailed()
