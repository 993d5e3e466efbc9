"""Which replica owns a guest's terminal, kept in the database: the hub's ownership over rows.

A claim is valid for some seconds. We count them from before we ask the database, and one second
fewer than it does, so that we stop relying on a claim before another replica may take it. While a
claim is valid we do not ask again. One statement renews all claims of a replica.
"""

import asyncio
import dataclasses
import secrets
import time
import weakref
from collections.abc import Callable

import structlog

from pve402.domain import errors
from pve402.hub import ownership
from pve402.proxmox.guests import GuestRef
from pve402.storage import database, owner_rows

log = structlog.get_logger(__name__)

HOLD_SECONDS = 6.0
_MARGIN_SECONDS = 1.0
_TRIES = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tenure:
    """A claim of ours, and until when we rely on it."""

    epoch: int
    until: float


class StoredOwnership:
    """Ownership among replicas that share a database."""

    def __init__(
        self,
        db: database.Database,
        peer_address: str,
        *,
        hold_seconds: float = HOLD_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the database and the address at which peers reach us; empty if they cannot."""
        self._db = db
        self._peer_address = peer_address
        self._hold_seconds = hold_seconds
        self._clock = clock
        self._replica = secrets.token_hex(16)
        self._held: dict[str, _Tenure] = {}
        self._renewing = asyncio.Lock()
        self._turns: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def claim(self, guest: GuestRef) -> ownership.Claim:
        """Become the owner unless another replica's claim is valid. Raises DatabaseUnavailable."""
        name = _name(guest)
        if self._is_believed(name):
            return ownership.Claim(is_ours=True)
        async with self._turn(name):
            return await self._claim(name)

    async def _claim(self, name: str) -> ownership.Claim:
        if self._is_believed(name):
            return ownership.Claim(is_ours=True)
        for _ in range(_TRIES):
            until = self._deadline()
            owner = await self._ask(name)
            if owner is not None and owner.replica == self._replica:
                self._held[name] = _Tenure(epoch=owner.epoch, until=until)
                return ownership.Claim(is_ours=True)
            if owner is not None:
                self._held.pop(name, None)
                return ownership.Claim(is_ours=False, owner_address=owner.peer_url)
        raise errors.TryLater("the guest's terminal is changing hands", retry_after_seconds=1)

    async def renew(self, guest: GuestRef) -> bool:
        """Renew the claim; False if it expired and another replica owns the terminal now."""
        name = _name(guest)
        async with self._renewing:
            tenure = self._held.get(name)
            if tenure is None:
                return False
            if tenure.until - self._clock() < self._hold_seconds - 2 * _MARGIN_SECONDS:
                await self._renew_all()
        return self._is_believed(name)

    async def release(self, guest: GuestRef) -> None:
        """Release the claim if it is ours; without the database, it simply expires."""
        name = _name(guest)
        tenure = self._held.pop(name, None)
        if tenure is None:
            return
        async with self._turn(name):
            if name in self._held:
                return  # claimed again in the meantime: the row is in use
            try:
                async with self._db.begin() as tx:
                    await owner_rows.release(self._db, tx, name, self._replica, tenure.epoch)
            except errors.DatabaseUnavailable:
                log.warning("guest_not_released", vmid=guest.vmid)

    async def address_of_other(self, guest: GuestRef) -> str:
        """Return the address of another replica that owns the guest; empty if none does."""
        if self._is_believed(_name(guest)):
            return ""
        async with self._db.read() as tx:
            owner = await owner_rows.find(self._db, tx, _name(guest))
        return owner.peer_url if owner is not None and owner.replica != self._replica else ""

    async def _ask(self, name: str) -> owner_rows.Owner | None:
        wish = owner_rows.Owner(replica=self._replica, peer_url=self._peer_address, epoch=0)
        async with self._db.begin() as tx:
            return await owner_rows.claim(self._db, tx, name, wish, self._hold_seconds)

    async def _renew_all(self) -> None:
        until = self._deadline()
        asked = {name: tenure.epoch for name, tenure in self._held.items()}
        try:
            async with self._db.begin() as tx:
                ours = await owner_rows.renew(
                    self._db, tx, self._replica, asked, self._hold_seconds
                )
        except errors.DatabaseUnavailable:
            return  # rely on the claim until it expires
        for name, epoch in asked.items():
            if name not in ours:
                self._held.pop(name, None)
            elif name in self._held:
                self._held[name] = _Tenure(epoch=epoch, until=until)

    def _turn(self, name: str) -> asyncio.Lock:
        """The lock that serializes claims and releases of a guest: both change the same tenure."""
        return self._turns.setdefault(name, asyncio.Lock())

    def _is_believed(self, name: str) -> bool:
        tenure = self._held.get(name)
        return tenure is not None and self._clock() < tenure.until

    def _deadline(self) -> float:
        return self._clock() + self._hold_seconds - _MARGIN_SECONDS


def _name(guest: GuestRef) -> str:
    """Name a guest by its vmid, which is unique in the cluster, whatever the node."""
    return f"lxc/{guest.vmid}"
