"""The hub goes on tidying whatever one guest's claim does."""

import asyncio

import pytest
from tests.support.fake_agent import FakeGuests

from pve402.hub import errors, ownership
from pve402.hub import hub as hub_module
from pve402.hub.hub import Hub
from pve402.hub.options import HubOptions
from pve402.proxmox.guests import GuestRef

BROKEN, SOUND = (GuestRef(node="pve", vmid=vmid) for vmid in (101, 102))


class BrokenClaim(ownership.InMemoryOwnership):
    """Owners whose store fails for one guest."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[GuestRef] = []

    async def renew(self, guest: GuestRef) -> bool:
        """Fail for the broken guest."""
        self.asked.append(guest)
        if guest == BROKEN:
            raise OSError
        return await super().renew(guest)


async def test_a_claim_that_cannot_be_renewed_stops_no_tidying(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "TIDY_SECONDS", 0.01)
    owners = BrokenClaim()
    async with Hub(HubOptions(idle_seconds=0.0), FakeGuests().open_terminal, owners=owners) as hub:
        for guest in (BROKEN, SOUND):
            await hub.session(guest)
        async with asyncio.timeout(10):
            while owners.asked.count(BROKEN) < 3 or hub.open_sessions > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        assert SOUND in owners.asked


async def test_consoles_of_guests_that_others_hold_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "TIDY_SECONDS", 0.01)
    rows: dict[GuestRef, tuple[str, float]] = {}
    first, second = (ownership.InMemoryOwnership(name, rows) for name in "ab")
    await first.claim(SOUND)
    async with Hub(HubOptions(), FakeGuests().open_terminal, owners=second) as hub:
        with pytest.raises(errors.Moved):
            await hub.open_console(SOUND, 80, 24)
        async with asyncio.timeout(10):
            while hub._consoles:  # noqa: ASYNC110 - only looking tells
                await asyncio.sleep(0.01)
