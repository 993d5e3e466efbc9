"""Links to uploads: one use, one upload, and a memory of guests that cannot come."""

from collections.abc import AsyncIterator

import pytest

from pve402.guests.pulls import PATH, SMALLEST_BYTES, LinkUnknown, Pulls
from pve402.guests.streams import LeaseRates
from pve402.proxmox.guests import GuestRef

URL = "http://10.0.0.5:4021"
GUEST, OTHER = GuestRef(node="pve", vmid=100), GuestRef(node="pve", vmid=101)
SIZE = SMALLEST_BYTES


async def pieces() -> AsyncIterator[bytes]:
    yield b"abc"


def token_of(url: str) -> str:
    return url.removeprefix(f"{URL}{PATH}")


async def test_a_link_leads_to_its_bytes_once() -> None:
    pulls = Pulls(URL, LeaseRates(20))
    with pulls.offered(GUEST, "l1", SIZE) as link:
        assert link is not None
        link.chunks = pieces()
        taken = pulls.take(token_of(link.url))
        assert (taken.lease_id, taken.size_bytes) == ("l1", SIZE)
        assert [chunk async for chunk in taken.paced()] == [b"abc"]
        with pytest.raises(LinkUnknown):
            pulls.take(token_of(link.url))


def test_a_link_ends_with_its_upload() -> None:
    pulls = Pulls(URL, LeaseRates(20))
    with pulls.offered(GUEST, "l1", SIZE) as link:
        assert link is not None
    with pytest.raises(LinkUnknown):
        pulls.take(token_of(link.url))


@pytest.mark.parametrize("token", ["", "x", "é", "\udc80", "a" * 10_000])
def test_what_is_no_token_is_unknown(token: str) -> None:
    with pytest.raises(LinkUnknown):
        Pulls(URL, LeaseRates(20)).take(token)


def test_a_guest_that_did_not_come_is_asked_again_later() -> None:
    now = 0.0
    pulls = Pulls(URL, LeaseRates(20), clock=lambda: now)
    with pulls.offered(GUEST, "l1", SIZE) as link:
        assert link is not None
        link.was_tried = True

    with pulls.offered(GUEST, "l1", SIZE) as again, pulls.offered(OTHER, "l2", SIZE) as other:
        assert again is None
        assert other is not None
    now = 601.0
    with pulls.offered(GUEST, "l1", SIZE) as again:
        assert again is not None


def test_small_uploads_and_services_without_an_address_use_the_terminal() -> None:
    with Pulls(URL, LeaseRates(20)).offered(GUEST, "l1", SIZE - 1) as link:
        assert link is None
    with Pulls("", LeaseRates(20)).offered(GUEST, "l1", 10 * SIZE) as link:
        assert link is None
