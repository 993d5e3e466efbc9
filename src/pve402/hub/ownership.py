"""Which replica owns the terminal of a guest. Two owners would type into one shell.

Ownership is a row with a time limit. A replica that wants a terminal claims it and renews the
claim while it uses the terminal. A dead owner's claim expires within seconds, and the next
replica can take it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pve402.proxmox.guests import GuestRef


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The outcome of a claim: ours, or the address of the owner."""

    is_ours: bool
    owner_address: str = ""


class GuestOwnership(Protocol):
    """Records which replica owns which guest's terminal."""

    async def claim(self, guest: GuestRef) -> Claim:
        """Become the owner unless another replica's claim still holds. Atomic."""

    async def renew(self, guest: GuestRef) -> bool:
        """Renew the claim; False if it expired and another replica owns the terminal now."""

    async def release(self, guest: GuestRef) -> None:
        """Release the claim if it is ours."""


class InMemoryOwnership:
    """Ownership among the hubs of one process, with claims that expire."""

    def __init__(
        self,
        address: str = "",
        rows: dict[GuestRef, tuple[str, float]] | None = None,
        *,
        limit_seconds: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._rows = rows if rows is not None else {}
        self._limit_seconds = limit_seconds
        self._clock = clock

    async def claim(self, guest: GuestRef) -> Claim:
        """Become the owner unless another hub's claim still holds."""
        owner, until = self._rows.get(guest, (self._address, 0.0))
        if owner != self._address and until > self._clock():
            return Claim(is_ours=False, owner_address=owner)
        self._rows[guest] = (self._address, self._clock() + self._limit_seconds)
        return Claim(is_ours=True)

    async def renew(self, guest: GuestRef) -> bool:
        """Renew the claim; False if another hub owns the terminal now."""
        return (await self.claim(guest)).is_ours

    async def release(self, guest: GuestRef) -> None:
        """Release the claim if it is ours."""
        if self._rows.get(guest, ("", 0.0))[0] == self._address:
            del self._rows[guest]
