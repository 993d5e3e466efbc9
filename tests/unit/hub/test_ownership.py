"""One owner per guest; a dead owner's claim runs out."""

from pve402.hub.ownership import InMemoryOwnership
from pve402.proxmox.guests import GuestRef

GUEST = GuestRef(node="pve", vmid=101)


async def test_second_claim_names_the_owner_until_it_runs_out() -> None:
    rows: dict[GuestRef, tuple[str, float]] = {}
    now = [0.0]
    first, second = (
        InMemoryOwnership(name, rows, limit_seconds=10, clock=lambda: now[0]) for name in "ab"
    )
    assert (await first.claim(GUEST)).is_ours
    refused = await second.claim(GUEST)
    assert (refused.is_ours, refused.owner_address) == (False, "a")
    now[0] = 9.0
    assert await first.renew(GUEST)
    now[0] = 18.0
    assert not (await second.claim(GUEST)).is_ours
    now[0] = 20.0
    assert (await second.claim(GUEST)).is_ours
    assert not await first.renew(GUEST)


async def test_released_guest_is_free() -> None:
    rows: dict[GuestRef, tuple[str, float]] = {}
    first, second = (InMemoryOwnership(name, rows) for name in "ab")
    await first.claim(GUEST)
    await second.release(GUEST)
    assert not (await second.claim(GUEST)).is_ours
    await first.release(GUEST)
    assert (await second.claim(GUEST)).is_ours
