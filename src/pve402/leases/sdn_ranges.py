"""Which networks have no address left that Proxmox VE's SDN would give.

A range that is used up gives none without a word, once the guest is made. So it is looked at before
anybody is asked to pay; the creation decides. All networks are read at once, in the background: a
node that is slow holds nobody up for longer than a moment.
"""

import asyncio
import time
from collections.abc import Callable, Sequence

import structlog

from pve402.domain import catalogue, networks
from pve402.leases import workflow
from pve402.proxmox import errors as pve
from pve402.proxmox import ipam as pve_ipam

log = structlog.get_logger(__name__)

FRESH_SECONDS = 5.0
_LIMIT_SECONDS = 3.0
_PATIENCE_SECONDS = 0.5
_AT_ONCE = 8
_Given = Sequence[tuple[networks.NetworkProfile, networks.Learned]]


class SdnRanges:
    """Reads the ranges of the networks on sale, and remembers for some seconds what it saw."""

    def __init__(self, ipam: pve_ipam.Ipam, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ipam = ipam
        self._clock = clock
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._reading: asyncio.Task[None] | None = None
        self._read_at = float("-inf")
        self._used_up: frozenset[str] = frozenset()

    async def used_up(self, sold: catalogue.Catalogue) -> frozenset[str]:
        """Return the names of networks without an address; of what cannot be read, none.

        While Proxmox VE takes its time, what was seen before is the answer.
        """
        given = [
            (profile, one)
            for profile in sold.networks_on_sale.values()
            for one in profile.learned
            if one.source is networks.Source.SDN
        ]
        if not given:
            return frozenset()
        if self._reading is None and self._clock() - self._read_at >= FRESH_SECONDS:
            self._reading = asyncio.create_task(self._read(given), name="sdn-ranges")
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=_PATIENCE_SECONDS)
        return self._used_up

    async def stop(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self, given: _Given) -> None:
        try:
            full = await asyncio.gather(*(self._is_full(profile, one) for profile, one in given))
            named = zip(given, full, strict=True)
            self._used_up = frozenset(profile.name for (profile, _), is_full in named if is_full)
        finally:
            self._read_at, self._reading = self._clock(), None

    async def _is_full(self, profile: networks.NetworkProfile, given: networks.Learned) -> bool:
        try:
            async with asyncio.timeout(_LIMIT_SECONDS), self._room:
                return await self._ipam.count_free(profile.bridge, given.subnet) == 0
        except (pve.ProxmoxError, TimeoutError, ValueError) as error:
            reason = workflow.reason_of(error)
            log.warning("sdn_range_not_read", network=profile.name, error=reason)
            return False
