"""Limits concurrent requests of one kind, in total and per address, lease or wallet.

A caller that has used up its share is refused; all others carry on.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final

from pve402.domain import client_party, errors

_LEAST_SHARE: Final = 16


class ShareUsed(errors.TooMany):
    """One address, lease or wallet has reached its limit of concurrent requests."""

    detail = "This address, lease or wallet has too many requests in progress; let some end first."
    code = "too_many_requests"
    retry_after_seconds = 5


@dataclasses.dataclass(kw_only=True)
class Lane:
    """Concurrent requests of one kind; one party may use one `part`th of the places."""

    limit: int
    part: int = 4
    under_way: int = 0
    _of_party: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def share(self) -> int:
        """How many places one party may use."""
        return max(self.limit // self.part, _LEAST_SHARE)

    def enter(self, parties: Sequence[str]) -> None:
        """Take a place. Raises Overloaded, or ShareUsed if one of the parties has too many."""
        if self.under_way >= self.limit:
            raise errors.Overloaded
        counts = self._of_party
        for party in parties:
            if counts.get(party, 0) >= self.share:
                raise ShareUsed
        self.under_way += 1
        for party in parties:
            counts[party] = counts.get(party, 0) + 1

    def leave(self, parties: Sequence[str]) -> None:
        """Give a place up."""
        self.under_way -= 1
        for party in parties:
            self._of_party[party] -= 1
            if self._of_party[party] <= 0:
                del self._of_party[party]


class Place:
    """A request's place in a lane, for as long as it is served."""

    def __init__(self, lane: Lane, parties: Sequence[str]) -> None:
        """Take a place. Raises what `Lane.enter` raises."""
        lane.enter(parties)
        self._lane = lane
        self._parties = tuple(parties)
        self._beside: Lane | None = None

    @property
    def lane(self) -> Lane:
        """The lane that it is in."""
        return self._lane

    def move(self, lane: Lane, *more: str) -> None:
        """Move to another lane, now that a party is known. Raises what `Lane.enter` raises."""
        if lane is self._lane:
            return
        parties = tuple(dict.fromkeys((*self._parties, *more)))
        lane.enter(parties)
        self.leave()
        self._lane, self._parties = lane, parties

    def take_beside(self, lane: Lane) -> None:
        """Take a place in another lane as well, until it moves or leaves.

        Raises what `Lane.enter` raises.
        """
        if self._beside is None:
            lane.enter(self._parties)
            self._beside = lane

    def leave(self) -> None:
        """Give the place up."""
        self._lane.leave(self._parties)
        if self._beside is not None:
            self._beside.leave(self._parties)
            self._beside = None


def parties_of(address: str | None) -> tuple[str, ...]:
    """The parties that a client counts as: its address or IPv6 subnet; none on a unix socket."""
    return () if address is None else (client_party.of(address),)
