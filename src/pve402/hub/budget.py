"""Limits how much program output is kept in memory, per guest and in total.

Output counts against the limit until nothing refers to it: neither a remembered execution nor
a response still being sent to a slow reader.
"""

from collections import Counter, deque
from collections.abc import Callable

from pve402.proxmox.guests import GuestRef

#: What a guest may keep even when other guests have used up the total.
ASSURED_BYTES = 256 * 1024

#: Takes the guest that needs room, how much, and whether other guests may have to give it.
MakeRoom = Callable[[GuestRef, int, bool], None]


class OutputBudget:
    """Gives out room; when room runs short, calls `make_room` to forget finished executions."""

    def __init__(self, *, guest_bytes: int, total_bytes: int, make_room: MakeRoom) -> None:
        self._guest_bytes = guest_bytes
        self._total_bytes = total_bytes
        self._make_room = make_room
        self._kept: Counter[GuestRef] = Counter()
        self._total = 0
        self._returned: deque[tuple[GuestRef, int]] = deque()

    @property
    def kept_bytes(self) -> int:
        """Bytes kept now, across all guests."""
        self._collect()
        return self._total

    def open(self, guest: GuestRef) -> "Share":
        """A share of the guest's room for one execution."""
        self._collect()
        return Share(self, guest)

    def take(self, guest: GuestRef, wanted: int) -> int:
        """Take room for up to `wanted` bytes; returns how many were granted.

        A guest that has used up its own room gets none from others.
        """
        self._collect()
        missing = wanted - self._own_room(guest)
        if missing > 0:
            self._make_room(guest, missing, False)
            self._collect()
        missing = min(wanted, self._own_room(guest)) - self._room(guest)
        if missing > 0:
            self._make_room(guest, missing, True)
            self._collect()
        granted = max(0, min(wanted, self._room(guest)))
        self._kept[guest] += granted
        self._total += granted
        return granted

    def give_back(self, guest: GuestRef, size: int) -> None:
        """Give room back, from any thread and at any moment: it is counted before the next use."""
        self._returned.append((guest, size))

    def _collect(self) -> None:
        """Count what was given back.

        A destructor runs in whichever thread collects garbage, and between any two steps of ours.
        """
        while self._returned:
            guest, size = self._returned.popleft()
            self._total -= size
            self._kept[guest] -= size
            if not self._kept[guest]:
                del self._kept[guest]

    def _own_room(self, guest: GuestRef) -> int:
        return self._guest_bytes - self._kept[guest]

    def _room(self, guest: GuestRef) -> int:
        assured = ASSURED_BYTES - self._kept[guest]
        return min(self._own_room(guest), max(assured, self._total_bytes - self._total))


class Share:
    """What one execution keeps; given back once nothing refers to the share."""

    def __init__(self, budget: OutputBudget, guest: GuestRef) -> None:
        self._budget = budget
        self._guest = guest
        self._taken = 0

    def take(self, wanted: int) -> int:
        """Take room for up to `wanted` bytes; returns how many were granted."""
        granted = self._budget.take(self._guest, wanted)
        self._taken += granted
        return granted

    def give_back(self, size: int) -> None:
        """Give back some of it early."""
        self._taken -= size
        self._budget.give_back(self._guest, size)

    def __del__(self) -> None:
        self._budget.give_back(self._guest, self._taken)
