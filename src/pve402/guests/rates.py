"""Limits the bytes that move through this process: of each lease, of each wallet, and in all."""

import asyncio
import functools
from typing import Final

from pve402.domain.lease import Lease
from pve402.hub import stream as streams

_BURST_SECONDS: Final = 1.0
_MOST_IDLE: Final = 1000


class Rates:
    """The three limits, over all ways into guests and both ways together."""

    def __init__(self, *, lease_mbps: float, wallet_mbps: float, total_mbps: float) -> None:
        """Take the limits in megabytes per second."""
        self._leases = _Kept(lease_mbps)
        self._wallets = _Kept(wallet_mbps)
        self._total = _Rate(total_mbps)

    def of(self, row: Lease) -> streams.Pace:
        """What waits until a lease may move so many bytes."""
        return functools.partial(self._take, row.lease_id, row.owner)

    async def _take(self, lease_id: str, owner: str, size: int) -> None:
        """Wait for the narrowest limit first, so that nobody holds the room of all meanwhile."""
        await self._leases.rate(lease_id).take(size)
        await self._wallets.rate(owner).take(size)
        await self._total.take(size)


class _Rate:
    """A rate with room for a short burst."""

    def __init__(self, megabytes_per_second: float) -> None:
        self._bytes_per_second = megabytes_per_second * 1_000_000
        self._paid_until = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether it is as good as new."""
        return self._paid_until <= asyncio.get_running_loop().time()

    async def take(self, size: int) -> None:
        """Wait until so many bytes may pass."""
        now = asyncio.get_running_loop().time()
        self._paid_until = max(self._paid_until, now) + size / self._bytes_per_second
        await asyncio.sleep(max(0.0, self._paid_until - now - _BURST_SECONDS))


class _Kept:
    """One rate for each name; idle ones are forgotten."""

    def __init__(self, megabytes_per_second: float) -> None:
        self._megabytes_per_second = megabytes_per_second
        self._rates: dict[str, _Rate] = {}

    def rate(self, name: str) -> _Rate:
        """The rate of a name; asked for at each use, because it may have been forgotten."""
        rate = self._rates.get(name)
        if rate is None:
            self._forget_idle()
            rate = self._rates[name] = _Rate(self._megabytes_per_second)
        return rate

    def _forget_idle(self) -> None:
        if len(self._rates) >= _MOST_IDLE:
            self._rates = {one: rate for one, rate in self._rates.items() if not rate.is_idle}
