"""Which replica owns the terminal of a guest. Two owners would type into one shell.

The owner is a row with a time limit. Whoever wants a terminal claims it; the owner renews
while it uses it; a dead owner's row runs out within seconds and is claimed by the next.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pve402.proxmox.guests import GuestRef


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What a claim came to: ours, or the address at which the owner is reached."""

    is_ours: bool
    owner_address: str = ""


class GuestOwnership(Protocol):
    """Rows that say who owns which guest's terminal."""

    async def claim(self, guest: GuestRef) -> Claim:
        """Become the owner unless another's claim still holds. Atomic."""

    async def renew(self, guest: GuestRef) -> bool:
        """Hold on; False where the claim ran out and another owns it now."""

    async def release(self, guest: GuestRef) -> None:
        """Let go, if it is ours."""


class InMemoryOwnership:
    """Ownership among the hubs of one process, with claims that run out."""

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
        """Become the owner unless another's claim still holds."""
        owner, until = self._rows.get(guest, (self._address, 0.0))
        if owner != self._address and until > self._clock():
            return Claim(is_ours=False, owner_address=owner)
        self._rows[guest] = (self._address, self._clock() + self._limit_seconds)
        return Claim(is_ours=True)

    async def renew(self, guest: GuestRef) -> bool:
        """Hold on; False where another owns it now."""
        return (await self.claim(guest)).is_ours

    async def release(self, guest: GuestRef) -> None:
        """Let go, if it is ours."""
        if self._rows.get(guest, ("", 0.0))[0] == self._address:
            del self._rows[guest]
