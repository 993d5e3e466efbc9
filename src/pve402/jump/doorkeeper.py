"""Who may connect: counts connections by party and by lease, and slows down who keeps failing."""

import contextlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from pve402.jump.options import JumpOptions

MOST_REMEMBERED: Final = 10_000


class NotNow(Exception):
    """A connection is refused; says why to the person at the other end."""


@dataclass(kw_only=True)
class _Bucket:
    """Tokens that come back with time."""

    tokens: float
    at: float

    def take(self, now: float, burst: float, per_second: float) -> bool:
        """Take one; False if there is none."""
        self.tokens = min(burst, self.tokens + (now - self.at) * per_second)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(kw_only=True)
class _Party:
    """What we remember of an address."""

    bucket: _Bucket
    strangers: int = 0
    failures: int = 0
    failed_at: float = 0.0
    shut_until: float = 0.0


class Doorkeeper:
    """Admits connections; `now` is a clock in seconds that never goes back."""

    def __init__(self, options: JumpOptions, now: Callable[[], float]) -> None:
        self._options = options
        self._now = now
        self._parties: OrderedDict[str, _Party] = OrderedDict()
        self._all = _Bucket(tokens=options.all_burst, at=now())
        self._connections = 0
        self._strangers = 0
        self._of_lease: Counter[str] = Counter()

    @contextlib.contextmanager
    def admitted(self, party: str) -> Iterator["Place"]:
        """Give a connection a place for the block. Raises NotNow."""
        known = self._known(party)
        self._check(known)
        place = Place(self, known)
        try:
            yield place
        finally:
            place.leave()

    def _check(self, known: _Party) -> None:
        limits, now = self._options, self._now()
        if now < known.shut_until:
            wait = int(known.shut_until - now) + 1
            raise NotNow(f"too many failed logins from this address; try again in {wait} s")
        if not known.bucket.take(now, limits.burst, limits.per_second):
            raise NotNow("too many new connections from this address; try again in a moment")
        if known.strangers >= limits.strangers_per_party:
            raise NotNow("too many connections from this address are logging in")
        if self._connections >= limits.connections or self._strangers >= limits.strangers:
            raise NotNow("too many connections; try again in a moment")
        if not self._all.take(now, limits.all_burst, limits.all_per_second):
            raise NotNow("too many new connections; try again in a moment")

    def _known(self, party: str) -> _Party:
        """Return what we remember of a party; forgets who has not come for longest."""
        found = self._parties.pop(party, None)
        if found is None:
            bucket = _Bucket(tokens=self._options.burst, at=self._now())
            found = _Party(bucket=bucket)
        self._parties[party] = found
        if len(self._parties) > MOST_REMEMBERED:
            self._parties.popitem(last=False)
        return found

    def count_stranger(self, known: _Party, change: int) -> None:
        """Count a connection that has not logged in."""
        known.strangers += change
        self._strangers += change

    def count_connection(self, change: int) -> None:
        """Count a connection."""
        self._connections += change

    def enter_lease(self, lease_id: str) -> None:
        """Count a lease's connection. Raises NotNow."""
        if self._of_lease[lease_id] >= self._options.per_lease:
            raise NotNow("too many connections of this lease are open; close one first")
        self._of_lease[lease_id] += 1

    def leave_lease(self, lease_id: str) -> None:
        """Count it no more."""
        self._of_lease[lease_id] -= 1
        if not self._of_lease[lease_id]:
            del self._of_lease[lease_id]

    def note_failure(self, known: _Party) -> None:
        """Remember that a party did not log in; from some number on, each doubles its pause."""
        limits, now = self._options, self._now()
        forgotten = int((now - known.failed_at) / limits.longest_pause)
        known.failures = max(0, known.failures - forgotten) + 1
        known.failed_at = now
        over = known.failures - limits.free_failures
        if over > 0:
            known.shut_until = now + min(limits.longest_pause, 2.0 ** min(over, 30))


class Place:
    """One connection's place: a stranger's, until it has logged in."""

    def __init__(self, keeper: Doorkeeper, known: _Party) -> None:
        self._keeper = keeper
        self._known = known
        self._lease_id: str | None = None
        self._is_stranger = True
        keeper.count_connection(1)
        keeper.count_stranger(known, 1)

    def log_in(self, lease_id: str) -> None:
        """The connection is a lease's now. Raises NotNow."""
        self._keeper.count_stranger(self._known, -1)
        self._is_stranger = False
        self._keeper.enter_lease(lease_id)
        self._lease_id = lease_id

    def leave(self) -> None:
        """Give the place up."""
        if self._is_stranger:
            self._keeper.count_stranger(self._known, -1)
            self._keeper.note_failure(self._known)
        if self._lease_id is not None:
            self._keeper.leave_lease(self._lease_id)
        self._keeper.count_connection(-1)
