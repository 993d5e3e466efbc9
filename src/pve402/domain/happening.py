"""What happened to a lease or an order and left no time of its own in their rows."""

import dataclasses
from datetime import datetime
from enum import Enum


class Kind(Enum):
    """What happened; the values are stored and must not change."""

    REFUSED = "refused"  # an order that will never be delivered
    MADE_ANEW = "made_anew"  # a guest given up, and made again under the same lease
    REPLACED = "replaced"  # an order's lease given up, and another one made for it
    RESTARTED = "restarted"  # a guest found down that should run
    START = "start"  # asked for, as the following
    STOP = "stop"
    REBOOT = "reboot"
    ROLLBACK = "rollback"
    SIZE = "size"
    REINSTALL = "reinstall"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    END = "end"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Happening:
    """One row of the table of happenings; the time is aware UTC."""

    at: datetime
    kind: Kind
    detail: str
    lease_id: str | None
    order_id: str | None
    vmid: int | None  # that the lease gave up
