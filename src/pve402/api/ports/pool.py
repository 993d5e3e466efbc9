"""Keeps connections to servers in guests for the next request, for some seconds."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final, cast

from starlette.requests import HTTPConnection

from pve402.api.peers import ports
from pve402.api.ports.upstream import Upstream
from pve402.domain.lease import Lease
from pve402.guests import connections, guest_work

#: Shorter than most servers wait for another request, and than relays are kept.
IDLE_SECONDS: Final = 10.0
_MOST_IDLE: Final = 8

Key = tuple[str, int]


def of(connection: HTTPConnection) -> "Pool":
    """The pool of the application that serves a request."""
    return cast("Pool", connection.app.state.port_pool)


class Pool:
    """Connections by lease and port; those that are not in use are closed after a while."""

    def __init__(
        self, work: guest_work.GuestWork, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._work = work
        self._clock = clock
        self._idle: defaultdict[Key, list[Upstream]] = defaultdict(list)
        self._tidying: asyncio.Task[None] | None = None

    async def take(self, lease: Lease, port: int, *, fresh: bool) -> Upstream:
        """A connection for one exchange; a kept one unless it must be `fresh`.

        Raises what `ports.connect` raises.
        """
        kept = self._idle.get((lease.lease_id, port), [])
        while kept and not fresh:
            upstream = kept.pop()
            if upstream.is_reusable:
                return upstream
            await upstream.close()
        try:
            connection = await ports.connect(self._work, lease, port)
        except connections.PortBusy:
            if not await self._close_one_of(lease.lease_id):
                raise
            connection = await ports.connect(self._work, lease, port)
        return Upstream(connection, self._clock)

    async def give_back(self, lease: Lease, port: int, upstream: Upstream) -> None:
        """Keep a connection for the next exchange, or close it if there can be none."""
        key = lease.lease_id, port
        if len(self._idle.get(key, ())) >= _MOST_IDLE or not upstream.start_anew():
            await upstream.close()
            return
        self._idle[key].append(upstream)
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._tidy())

    async def close(self) -> None:
        """Close all that are kept."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
        await self.tidy(until=float("inf"))

    async def tidy(self, until: float) -> None:
        """Close what has not been used since a time."""
        for key, kept in tuple(self._idle.items()):
            old = [each for each in kept if each.idle_since <= until or not each.is_reusable]
            kept[:] = [each for each in kept if each not in old]  # before others get a turn
            if not kept:
                self._idle.pop(key, None)
            for upstream in old:
                await upstream.close()

    async def _tidy(self) -> None:
        while self._idle:
            await asyncio.sleep(IDLE_SECONDS / 4)
            await self.tidy(self._clock() - IDLE_SECONDS)

    async def _close_one_of(self, lease_id: str) -> bool:
        for key, kept in self._idle.items():
            if key[0] == lease_id and kept:
                await kept.pop(0).close()
                return True
        return False
