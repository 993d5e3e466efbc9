"""When to ask a session for a sign of life, and when to give it up. Sans-I/O.

Often nothing signals the end of a terminal's session: the socket stays open and silent until we
send data. So while something runs we ask for a sign of life: soon after a start, because a program
may have ended while a background job still holds its output, and then less and less often.
"""

from enum import Enum

from pve402.hub.options import HubOptions

#: First check after a start; the interval then doubles up to the heartbeat.
_FIRST_SECONDS = 0.25


class Verdict(Enum):
    """What to do now."""

    WAIT = "wait"  # nothing
    ASK = "ask"  # send something that is answered
    LOST = "lost"  # give the session up


class Liveness:
    """The liveness of one session; times are arguments, in seconds."""

    def __init__(self, options: HubOptions, now: float) -> None:
        self.last_received = now
        self._options = options
        self._interval = _FIRST_SECONDS
        self._next: float | None = None
        self._asked_at: float | None = None
        self._suspected_at: float | None = None

    def started(self, now: float) -> None:
        """We started or sent something that needs an answer."""
        self._interval = _FIRST_SECONDS
        self._next = now + self._interval

    def asked(self, now: float) -> None:
        """A question went out."""
        if self._asked_at is None:
            self._asked_at = now

    def received(self, now: float) -> None:
        """Bytes came in."""
        self.last_received = now
        self._asked_at = None

    def answered(self) -> None:
        """A frame from the agent came in: it is alive, whatever the screen says."""
        self._suspected_at = None

    def suspected(self, now: float) -> None:
        """The output looks like the end of the session."""
        self._suspected_at = now

    def check(self, now: float, *, busy: bool) -> Verdict:
        """What to do now."""
        silent = self._asked_at is not None and now - self._asked_at > self._options.silence_seconds
        suspected = self._suspected_at
        if silent or (
            suspected is not None and now - suspected > self._options.acknowledge_seconds
        ):
            return Verdict.LOST
        if not busy or self._next is None or now < self._next:
            return Verdict.WAIT
        self._interval = min(self._interval * 2, self._options.heartbeat_seconds)
        self._next = now + self._interval
        return Verdict.ASK

    def next_check(self, now: float) -> float:
        """When to check again."""
        soon = now + min(_FIRST_SECONDS, self._options.silence_seconds)
        return soon if self._next is None or self._next <= now else min(soon, self._next)
