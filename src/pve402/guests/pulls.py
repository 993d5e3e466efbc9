"""Uploads that guests fetch themselves, over one-time links, instead of through their terminal.

A link leads to one upload that is under way: to its bytes, as they arrive, once, and for as long as
the upload waits for the guest. It works at the replica that made it.
"""

import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from pve402.domain import errors
from pve402.guests.streams import LeaseRates
from pve402.hub import files
from pve402.hub import stream as streams
from pve402.proxmox.guests import GuestRef

log = structlog.get_logger(__name__)

PATH: Final = "/guest/files/"
#: Smaller files are through the terminal before a guest has started a program to fetch them.
SMALLEST_BYTES: Final = 512 * 1024
#: How long we do not ask a guest again that could not come.
_FORGET_SECONDS: Final = 600.0
_MOST_REMEMBERED: Final = 10_000


class LinkUnknown(errors.Pve402Error):
    """The link was used, has expired, or never was one."""

    detail = "This link has been used or has expired, or never was one."
    code = "link_unknown"


class Link(files.Link):
    """One upload that a guest may fetch once."""

    def __init__(self, url: str, lease_id: str, size_bytes: int, pace: streams.Pace) -> None:
        super().__init__(url)
        self.lease_id = lease_id
        self.size_bytes = size_bytes
        self._pace = pace

    async def paced(self) -> AsyncIterator[bytes]:
        """The bytes at the lease's rate."""
        if self.chunks is None:
            return
        async for chunk in self.chunks:
            await self._pace(len(chunk))
            yield chunk


class Pulls:
    """Makes links and hands out what they lead to."""

    def __init__(
        self,
        guest_url: str,
        rates: LeaseRates,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the address at which guests reach this service; empty if they cannot."""
        self._guest_url = guest_url
        self._rates = rates
        self._clock = clock
        self._links: dict[bytes, Link] = {}
        self._failed_at: dict[GuestRef, float] = {}

    @contextmanager
    def offered(self, guest: GuestRef, lease_id: str, size_bytes: int) -> Iterator[Link | None]:
        """A link for the block, or None where the terminal is the better way."""
        if not self._is_worth_it(guest, size_bytes):
            yield None
            return
        token = secrets.token_urlsafe(32)
        link = Link(
            f"{self._guest_url}{PATH}{token}", lease_id, size_bytes, self._rates.of(lease_id)
        )
        self._links[_key(token)] = link
        try:
            yield link
        finally:
            self._links.pop(_key(token), None)
            self._note(guest, link)

    def take(self, token: str) -> Link:
        """Use a link up. Raises LinkUnknown."""
        link = self._links.pop(_key(token), None)
        if link is None:
            raise LinkUnknown
        link.is_used = True
        return link

    def _is_worth_it(self, guest: GuestRef, size_bytes: int) -> bool:
        failed_at = self._failed_at.get(guest)
        is_out = failed_at is not None and self._clock() - failed_at < _FORGET_SECONDS
        return bool(self._guest_url) and size_bytes >= SMALLEST_BYTES and not is_out

    def _note(self, guest: GuestRef, link: Link) -> None:
        if link.is_used:
            self._failed_at.pop(guest, None)
        elif link.was_tried:
            log.info("guest_does_not_reach_us", node=guest.node, vmid=guest.vmid)
            while len(self._failed_at) >= _MOST_REMEMBERED:
                self._failed_at.pop(next(iter(self._failed_at)))
            self._failed_at[guest] = self._clock()


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
