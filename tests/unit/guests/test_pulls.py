"""Links to uploads: one use, one upload, and a memory of guests that cannot come."""

from collections.abc import AsyncIterator

import pytest

from pve402.guests.pulls import PATH, SMALLEST_BYTES, LinkUnknown, Pulls, lease_of
from pve402.proxmox.guests import GuestRef

URL = "http://10.0.0.5:4021"
GUEST, OTHER = GuestRef(node="pve", vmid=100), GuestRef(node="pve", vmid=101)
SIZE = SMALLEST_BYTES


async def pieces() -> AsyncIterator[bytes]:
    yield b"abc"


def token_of(url: str) -> str:
    return url.removeprefix(f"{URL}{PATH}")


async def test_a_link_leads_to_its_bytes_once() -> None:
    pulls = Pulls(URL)
    with pulls.offered(GUEST, "l1", SIZE) as link:
        assert link is not None
        link.chunks = pieces()
        taken = pulls.take(token_of(link.url))
        assert (taken.lease_id, taken.size_bytes) == ("l1", SIZE)
        assert taken.chunks is link.chunks
        with pytest.raises(LinkUnknown):
            pulls.take(token_of(link.url))


def test_a_link_ends_with_its_upload() -> None:
    pulls = Pulls(URL)
    with pulls.offered(GUEST, "l1", SIZE) as link:
        assert link is not None
    with pytest.raises(LinkUnknown):
        pulls.take(token_of(link.url))


@pytest.mark.parametrize("token", ["", "x", "é", "\udc80", "a" * 10_000])
def test_what_is_no_token_is_unknown(token: str) -> None:
    with pytest.raises(LinkUnknown):
        Pulls(URL).take(token)


def test_a_boot_in_which_a_guest_could_not_come_is_remembered_for_an_hour() -> None:
    now = 0.0
    pulls = Pulls(URL, clock=lambda: now)
    with pulls.offered(GUEST, "l1", SIZE) as link:
        assert link is not None
        assert link.failed_boot == ""
        link.failed_boot = "4711"

    with pulls.offered(GUEST, "l1", SIZE) as again, pulls.offered(OTHER, "l2", SIZE) as other:
        assert (again and again.failed_boot, other and other.failed_boot) == ("4711", "")
    now = 3601.0
    with pulls.offered(GUEST, "l1", SIZE) as again:
        assert again is not None
        assert again.failed_boot == ""


def test_a_guest_that_came_or_has_no_route_yet_is_asked_again() -> None:
    pulls = Pulls(URL)
    for is_used, told in ((True, "4711"), (False, "")):
        with pulls.offered(GUEST, "l1", SIZE) as link:
            assert link is not None
            link.failed_boot = "4711"
        with pulls.offered(GUEST, "l1", SIZE) as link:
            assert link is not None
            link.is_used, link.failed_boot = is_used, told
        with pulls.offered(GUEST, "l1", SIZE) as link:
            assert link is not None
            assert link.failed_boot == ""


@pytest.mark.parametrize("token", ["l" + "1" * 25, "l1.abc", ".abc", "", "l" + "1" * 25 + "."])
def test_what_names_no_lease_is_unknown(token: str) -> None:
    with pytest.raises(LinkUnknown):
        lease_of(token)


def test_a_link_names_its_lease() -> None:
    lease_id = "l" + "7" * 25
    with Pulls(URL).offered(GUEST, lease_id, SIZE) as link:
        assert link is not None
        assert lease_of(token_of(link.url)) == lease_id


def test_who_has_no_network_or_little_to_fetch_uses_the_terminal() -> None:
    with Pulls(URL).offered(GUEST, "l1", SIZE - 1) as link:
        assert link is None
    with Pulls(URL).offered(GUEST, "l1", SIZE, is_connected=False) as link:
        assert link is None
    with Pulls("").offered(GUEST, "l1", 10 * SIZE) as link:
        assert link is None
