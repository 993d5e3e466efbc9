"""Forks: new leases whose guests are copies of a lease's guest, and what can be refused about them.

ForksOff, ForkNeedsStop, ForkUnsupported, ForkEndsTooSoon    409
"""

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final, Self

from pve402.domain import errors, rows

MOST_ALLOWED: Final = 10
"""The most copies that an operator may allow in one fork."""
LEAST_LEFT: Final = timedelta(minutes=5)
"""How long a lease must be paid for when it is forked, so that it lasts until it is copied."""
PART_REFUSED: Final = "fork_refused"
"""Why the order of another lease of a fork was refused: the payment for all of them was."""
CONTRACT_PAYER: Final = "contract_payer"
"""Why a payment for a fork is refused: its payer may change its mind once the copy runs."""


class ForksOff(errors.Conflict):
    """The operator allows no forks."""

    detail = "This service makes no copies of containers; nothing was charged."
    code = "forks_off"


class ForkNeedsStop(errors.Conflict):
    """The storage of the guest's disk copies only a guest that is down."""

    detail = (
        "The storage of this container's disk copies only a stopped container. Stop it first; it"
        " may be started again once the copies are there. Nothing was charged."
    )
    code = "fork_needs_stop"


class ForkUnsupported(errors.Conflict):
    """The guest, or the snapshot of it, cannot be copied."""

    detail = "This container, or this snapshot of it, cannot be copied; nothing was charged."
    code = "fork_unsupported"


class ForkEndsTooSoon(errors.Conflict):
    """The lease might end before its guest was copied."""

    detail = "This lease ends in less than 5 minutes; renew it first. Nothing was charged."
    code = "fork_ends_too_soon"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fork:
    """What an order's guests are copied from; one row as long as the order is open."""

    order_id: str
    lease_id: str  # of the guest that is copied; it has one fork at a time
    created_at: datetime
    pve_name: str | None = None  # of the snapshot that is copied; None: the guest, which is down
    is_temporary: bool = False  # the snapshot was taken for the fork, and goes with it
    is_linked: bool = False

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Self:
        """Build a fork from a complete row."""
        return rows.made(cls, row)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Way:
    """How a guest can be copied now."""

    snapshot: str | None = None  # on Proxmox VE, of the tenant's; None: see `takes_snapshot`
    takes_snapshot: bool = False  # a temporary one; else the guest is down, and is copied itself
    is_linked: bool = False
