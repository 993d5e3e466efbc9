"""Opens streams into leases' guests, within what one lease and one wallet may hold."""

import weakref
from collections import defaultdict
from typing import Final

from pve402.domain.lease import Lease
from pve402.guests.rates import Rates
from pve402.hub import errors as hub_errors
from pve402.hub import hub
from pve402.hub import stream as streams
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef

#: Streams that one wallet may hold open at this replica, over all its leases.
MAX_PER_WALLET: Final = 64


class Streams:
    """The streams that this replica holds open."""

    def __init__(self, terminal: hub.Hub, rates: Rates) -> None:
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
        stream = await self._hub.open_stream(guest, request, self._rates.of(row))
        held.add(stream)
        return stream
