"""Whether a lease's guest should run, and who decided that."""

import dataclasses
from datetime import datetime, timedelta
from enum import Enum

from pve402.domain import errors

LONGEST_PAUSE = timedelta(days=30)
"""How long a paused lease burns less; then it burns what it does when it runs."""


class Wanted(Enum):
    """The wanted state of a lease's guest; the values are stored and must not change."""

    RUNNING = "running"
    STOPPED = "stopped"  # its time keeps running, and it keeps its cores, memory and disk
    SUSPENDED = "suspended"  # by the operator; the tenant can neither start nor renew it


class Use(Enum):
    """What wakes a paused lease if its tenant chose it; the values are stored."""

    COMMAND = "command"
    CONSOLE = "console"
    PORT = "port"  # of a holder of a token, or a browser that one logged in


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


class PausingOff(errors.Conflict):
    detail = "This lease cannot be paused: it was sold without a rate for pauses."
    code = "pausing_off"


class TooManyWakes(errors.TooMany):
    detail = "This lease was woken too often in the last hour; it stays paused. Try again later."
    code = "too_many_wakes"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__()
        self.retry_after_seconds = retry_after_seconds


class NoRoomToWake(errors.TryLater):
    detail = "There is no room to start this container right now; its lease stays paused."
    code = "no_room_to_wake"
    retry_after_seconds = 60
