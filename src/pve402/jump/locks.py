"""Which keys open which lease: read from the guest at each login, so that changes count at once."""

import asyncio
import enum
import weakref
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from pve402.domain import errors, lease, power
from pve402.guests import ssh_ways
from pve402.hub import errors as hub_errors
from pve402.jump.options import JumpOptions

Keys = frozenset[str]
_NONE: Keys = frozenset()


class Shut(enum.Enum):
    """Why a key opens a guest no more: words for whoever used it."""

    REMOVED = "the key was removed from the container"
    UNREAD = "the container has not told its keys for some time"


class Locks:
    """Finds leases and their keys; each guest is asked once at a time, however many ask for it."""

    def __init__(
        self,
        find: Callable[[str], Awaitable[lease.Lease]],
        authorized: Callable[[lease.Lease], Awaitable[Keys]],
        options: JumpOptions,
    ) -> None:
        self._find = find
        self._authorized = authorized
        self._options = options
        self._next: dict[str, asyncio.Task[Keys]] = {}
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def find(self, lease_id: str) -> lease.Lease:
        """Return a lease whose guest may be entered now. Raises Pve402Error.

        A ctid names no lease here: it may be another lease's by now, and can be guessed.
        """
        if not lease.is_lease_id(lease_id):
            raise errors.LeaseNotFound
        found = await self._find(lease_id)
        found.check_not_suspended()
        if not lease.is_usable(found.status, found.expires_at, datetime.now(UTC)):
            raise errors.LeaseNotReady
        return found

    async def keys(self, found: lease.Lease) -> Keys:
        """Return the fingerprints of a lease's keys, as they are now. Raises Pve402Error."""
        reading = self._next.get(found.lease_id)
        if reading is None:
            reading = asyncio.create_task(self._read(found))
            reading.add_done_callback(_retrieve)
            self._next[found.lease_id] = reading
        return await asyncio.shield(reading)

    async def keys_of_name(self, name: str) -> tuple[lease.Lease | None, Keys]:
        """Return what a user name opens; nothing if it does not, for whatever reason.

        A paused lease that a login wakes is opened by the keys that were given for it: its guest is
        down. Once it is up, its own keys count.
        """
        try:
            found = await self.find(name)
            if found.is_woken_by(power.Use.COMMAND):
                return found, ssh_ways.given(found)
            return found, await self.keys(found)
        except errors.Pve402Error:
            return None, _NONE

    async def until_shut(self, lease_id: str, fingerprint: str) -> Shut:
        """Return soon after a key stopped opening the guest, and why.

        It must be missing twice: editors and tools write files that are empty for a moment. A guest
        that cannot be asked has not removed it, for some time. One with as many commands as it may
        have is well, and a missing database says nothing about it.
        """
        options, now = self._options, asyncio.get_running_loop().time
        missing, read_at = 0, now()
        while now() - read_at <= options.unread_seconds:
            await asyncio.sleep(options.recheck_seconds / 5 if missing else options.recheck_seconds)
            try:
                is_there = fingerprint in await self.keys(await self.find(lease_id))
            except (errors.DatabaseUnavailable, hub_errors.TooManyCommands):
                read_at = now()
                continue
            except errors.Pve402Error:
                continue
            missing, read_at = (0 if is_there else missing + 1), now()
            if missing == 2:
                return Shut.REMOVED
        return Shut.UNREAD

    async def _read(self, found: lease.Lease) -> Keys:
        """Wait for the reading in progress, and read again: a key may have come meanwhile."""
        turn = self._turns.setdefault(found.lease_id, asyncio.Lock())
        async with turn:
            del self._next[found.lease_id]
            try:
                async with asyncio.timeout(self._options.lookup_seconds):
                    return await self._authorized(found)
            except TimeoutError:
                raise errors.TryLater from None


def _retrieve(reading: asyncio.Task[Keys]) -> None:
    """Look at a failure that nobody waits for any more."""
    if not reading.cancelled():
        reading.exception()
