"""Whether a lease's guest should run, and who decided that."""

import dataclasses
from datetime import datetime
from enum import Enum


class Wanted(Enum):
    """The wanted state of a lease's guest; the values are stored and must not change."""

    RUNNING = "running"
    STOPPED = "stopped"  # its time keeps running, and it keeps its cores, memory and disk
    SUSPENDED = "suspended"  # by the operator; the tenant can neither start nor renew it


class WantedBy(Enum):
    """Who decided; the values are stored and must not change."""

    SERVICE = "service"  # as handed over, or as found when the table was rebuilt
    TENANT = "tenant"
    OPERATOR = "operator"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suspension:
    """Why the operator suspended a lease, and what that does to its time."""

    reason: str  # shown to the tenant
    since: datetime
    time_held: bool  # the paid time stands still; otherwise it keeps running
    resumes_to: Wanted = Wanted.RUNNING  # what was wanted before
