"""How long tasks usually take, and when to look at the next one because of it.

A wait that knows nothing looks less and less often, and so notices an end up to a quarter of the
task's time late. A wait that knows the usual time looks rarely before the usual end and closely
around it. The figures are estimated as TCP estimates its round trips (RFC 6298): a mean, and the
mean deviation from it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

_WEIGHT = 0.25  # of the newest task
KINDS_LIMIT = 256
_FIRST_PAUSE_SECONDS = 0.16
_CLOSE_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class PollPolicy:
    """How often to poll a task: quickly at first, then less and less often."""

    first_seconds: float = 0.15
    factor: float = 1.6
    ceiling_seconds: float = 2.0

    def pauses(self) -> Iterator[float]:
        """Seconds to wait between polls; never ends."""
        pause = self.first_seconds
        while True:
            yield min(pause, self.ceiling_seconds)
            pause = min(pause * self.factor, self.ceiling_seconds)


@dataclass(frozen=True, kw_only=True)
class Usual:
    """The usual time of one kind of task, and by how much it differs, in seconds."""

    mean: float
    deviation: float

    @property
    def soonest(self) -> float:
        """When to begin to look closely."""
        return self.mean - min(max(2 * self.deviation, self.mean / 20), self.mean / 4)

    def with_one_more(self, seconds: float) -> "Usual":
        """The figures after another task; one that took very long counts as one of twice the mean.

        So a task that hung for a while does not make us look away from all later ones.
        """
        taken = min(seconds, 2 * self.mean + _CLOSE_SECONDS)
        deviation = self.deviation + _WEIGHT * (abs(taken - self.mean) - self.deviation)
        return Usual(mean=self.mean + _WEIGHT * (taken - self.mean), deviation=deviation)


class Pace:
    """The pauses of one wait. The times it is told are seconds since the wait began."""

    def __init__(self, policy: PollPolicy, usual: Usual | None) -> None:
        self._ceiling = policy.ceiling_seconds
        self._soonest = 0.0 if usual is None else usual.soonest
        first = policy.first_seconds
        if usual is not None:
            first = min(first, max(_CLOSE_SECONDS, usual.deviation / 4))
        close = PollPolicy(first_seconds=first, factor=policy.factor, ceiling_seconds=self._ceiling)
        self._pauses = close.pauses()

    def before_first(self) -> float:
        """Seconds to wait before the first look."""
        return min(_FIRST_PAUSE_SECONDS, self._ceiling, self._soonest)

    def after(self, elapsed: float) -> float:
        """Seconds to wait after a look that found the task running.

        Before the usual end each pause may double the time so far, up to the policy's longest
        pause: a task that ends much sooner than usual is still noticed.
        """
        if elapsed < self._soonest:
            rare = min(max(elapsed, _FIRST_PAUSE_SECONDS), self._ceiling)
            return min(rare, self._soonest - elapsed)
        return next(self._pauses)


class TaskTimes:
    """What this process has learned about the tasks of each kind on each node."""

    def __init__(self) -> None:
        self._usual: OrderedDict[tuple[str, str], Usual] = OrderedDict()

    def pace(self, node: str, kind: str, policy: PollPolicy) -> Pace:
        """When to look at a task that has just been asked for."""
        return Pace(policy, self._usual.get((node, kind)))

    def learn(self, node: str, kind: str, seconds: float) -> None:
        """Take in how long a task took that went well; forgets the kind not seen for longest."""
        known = self._usual.pop((node, kind), None)
        fresh = Usual(mean=seconds, deviation=seconds / 8)
        self._usual[node, kind] = fresh if known is None else known.with_one_more(seconds)
        if len(self._usual) > KINDS_LIMIT:
            self._usual.popitem(last=False)
