"""Uploads that guests fetch themselves, over one-time links, instead of through their terminal.

A link leads to one upload that is under way: to its bytes, as they arrive, once, and for as long as
the upload waits for the guest. It works at the replica that made it, which holds the guest's
terminal. It begins with the leaseId, so that any other replica knows where to pass it on to.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from pve402.domain import errors, lease
from pve402.hub import uploads
from pve402.proxmox.guests import GuestRef

log = structlog.get_logger(__name__)

PATH: Final = "/guest/files/"
#: Smaller files get through the terminal before a guest can start a program to fetch them.
SMALLEST_BYTES: Final = 512 * 1024
#: How long a guest that could not fetch an upload does not try again, unless it reboots.
_FORGET_SECONDS: Final = 3600.0
_MOST_REMEMBERED: Final = 10_000


class LinkUnknown(errors.Pve402Error):
    """The link was used, has expired, or never was one."""

    detail = "This link has been used or has expired, or never was one."
    code = "link_unknown"


class Link(uploads.Link):
    """One upload that a guest may fetch once."""

    def __init__(self, url: str, lease_id: str, size_bytes: int, failed_boot: str) -> None:
        super().__init__(url, failed_boot)
        self.lease_id = lease_id
        self.size_bytes = size_bytes


class Pulls:
    """Makes links and hands out what they lead to."""

    def __init__(self, guest_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the address at which guests reach this service; empty if they cannot."""
        self._guest_url = guest_url
        self._clock = clock
        self._links: dict[bytes, Link] = {}
        self._failed: dict[GuestRef, tuple[float, str]] = {}

    @contextmanager
    def offered(
        self, guest: GuestRef, lease_id: str, size_bytes: int, *, is_connected: bool = True
    ) -> Iterator[Link | None]:
        """A link for the block, or None where the terminal is the better way.

        A guest that is not connected yet is not asked, so that nothing is remembered against it.
        """
        if not (self._guest_url and is_connected and size_bytes >= SMALLEST_BYTES):
            yield None
            return
        token = f"{lease_id}.{secrets.token_urlsafe(32)}"
        before = self._failed_boot(guest)
        link = Link(f"{self._guest_url}{PATH}{token}", lease_id, size_bytes, before)
        self._links[_key(token)] = link
        try:
            yield link
        finally:
            self._links.pop(_key(token), None)
            self._note(guest, link, before)

    def take(self, token: str) -> Link:
        """Use a link up. Raises LinkUnknown."""
        link = self._links.pop(_key(token), None)
        if link is None:
            raise LinkUnknown
        link.is_used = True
        return link

    def _failed_boot(self, guest: GuestRef) -> str:
        failed_at, boot = self._failed.get(guest, (0.0, ""))
        return boot if self._clock() - failed_at < _FORGET_SECONDS else ""

    def _note(self, guest: GuestRef, link: Link, before: str) -> None:
        """Remember the boot in which a guest could not come; `before` is what we knew."""
        if link.is_used or not link.failed_boot:
            self._failed.pop(guest, None)
        elif link.failed_boot != before:
            log.info("guest_does_not_reach_us", node=guest.node, vmid=guest.vmid)
            while len(self._failed) >= _MOST_REMEMBERED:
                self._failed.pop(next(iter(self._failed)))
            self._failed[guest] = (self._clock(), link.failed_boot)


def lease_of(token: str) -> str:
    """Return the leaseId that a link names. Raises LinkUnknown."""
    named, _, rest = token.partition(".")
    if not lease.is_lease_id(named) or not rest:
        raise LinkUnknown
    return named


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
