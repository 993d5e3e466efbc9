"""How much output of programs is kept in memory: a share for each guest, and a bound in all.

What is kept counts until nobody holds it any more: not the execution that is remembered, nor an
answer that is still being sent to a slow reader.
"""

from collections import Counter
from collections.abc import Callable

from pve402.proxmox.guests import GuestRef

#: What a guest may keep even where others have used up what there is in all.
ASSURED_BYTES = 256 * 1024

MakeRoom = Callable[[GuestRef, int], None]


class OutputBudget:
    """Gives out room; `make_room` is asked to forget what is remembered, if it runs short."""

    def __init__(self, *, guest_bytes: int, total_bytes: int, make_room: MakeRoom) -> None:
        self._guest_bytes = guest_bytes
        self._total_bytes = total_bytes
        self._make_room = make_room
        self._kept: Counter[GuestRef] = Counter()
        self._total = 0

    @property
    def kept_bytes(self) -> int:
        """What is kept now, of all guests."""
        return self._total

    def open(self, guest: GuestRef) -> "Share":
        """A share of a guest's, for one execution."""
        return Share(self, guest)

    def take(self, guest: GuestRef, wanted: int) -> int:
        """Take room for so many bytes; returns how many there is room for."""
        missing = wanted - self._room(guest)
        if missing > 0:
            self._make_room(guest, missing)
        granted = max(0, min(wanted, self._room(guest)))
        self._kept[guest] += granted
        self._total += granted
        return granted

    def give_back(self, guest: GuestRef, size: int) -> None:
        """Give room back."""
        self._total -= size
        self._kept[guest] -= size
        if not self._kept[guest]:
            del self._kept[guest]

    def _room(self, guest: GuestRef) -> int:
        own = self._guest_bytes - self._kept[guest]
        assured = ASSURED_BYTES - self._kept[guest]
        return min(own, max(assured, self._total_bytes - self._total))


class Share:
    """What one execution keeps, until nobody refers to the share any more."""

    def __init__(self, budget: OutputBudget, guest: GuestRef) -> None:
        self._budget = budget
        self._guest = guest
        self._taken = 0

    def take(self, wanted: int) -> int:
        """Take room for so many bytes; returns how many there is room for."""
        granted = self._budget.take(self._guest, wanted)
        self._taken += granted
        return granted

    def __del__(self) -> None:
        self._budget.give_back(self._guest, self._taken)
