"""Opens streams into leases' guests, within what one lease and one wallet may use."""

import asyncio
import weakref
from collections import defaultdict
from typing import Final

from pve402.domain.lease import Lease
from pve402.hub import errors as hub_errors
from pve402.hub import hub
from pve402.hub import stream as streams
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef

#: Streams that one wallet may hold open at this replica, over all its leases.
MAX_PER_WALLET: Final = 64
_BURST_SECONDS: Final = 1.0


class LeaseRates:
    """Limits the bytes that each lease moves through us, both ways together."""

    def __init__(self, megabytes_per_second: float) -> None:
        self._bytes_per_second = megabytes_per_second * 1_000_000
        self._rates: weakref.WeakValueDictionary[str, _Rate] = weakref.WeakValueDictionary()

    def of(self, lease_id: str) -> streams.Pace:
        """What a lease's bytes have to wait for."""
        rate = self._rates.get(lease_id)
        if rate is None:
            rate = self._rates[lease_id] = _Rate(self._bytes_per_second)
        return rate.take


class _Rate:
    """A rate with room for a short burst."""

    def __init__(self, bytes_per_second: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._paid_until = 0.0

    async def take(self, size: int) -> None:
        """Wait until so many bytes may pass."""
        now = asyncio.get_running_loop().time()
        self._paid_until = max(self._paid_until, now) + size / self._bytes_per_second
        await asyncio.sleep(max(0.0, self._paid_until - now - _BURST_SECONDS))


class Streams:
    """The streams that this replica holds open."""

    def __init__(self, terminal: hub.Hub, rates: LeaseRates) -> None:
        self._hub = terminal
        self._rates = rates
        self._of_wallet: defaultdict[str, weakref.WeakSet[streams.Stream]] = defaultdict(
            weakref.WeakSet
        )

    async def open(self, guest: GuestRef, row: Lease, request: ExecRequest) -> streams.Stream:
        """Open a stream to a program in a lease's guest. Raises as `Hub.open_stream`."""
        held = self._of_wallet[row.owner]
        if sum(not stream.is_over for stream in held) >= MAX_PER_WALLET:
            raise hub_errors.TooManyStreams("too many streams of this wallet are open")
        rate = self._rates.of(row.lease_id)
        stream = await self._hub.open_stream(guest, request, rate)
        held.add(stream)
        return stream
