"""Learns what the facilitators settle, so that we offer no terms that nobody would settle.

We ask at startup and from time to time. If a facilitator does not answer, we assume that it
settles everything, as its documentation claims, and ask again soon.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Protocol

import structlog

from pve402.payments import errors, networks

log = structlog.get_logger(__name__)

EVERY_VERSION: Final = frozenset({1, 2})
_ASK_AGAIN_SECONDS: Final = 300.0
_RETRY_SECONDS: Final = 15.0
_START_SECONDS: Final = 3.0


class Supporting(Protocol):
    """A facilitator that reports what it settles."""

    async def supported(self) -> frozenset[tuple[int, str]]:
        """Return wire versions and networks, by either name. Raises FacilitatorUnavailable."""
        ...


class Support:
    """Knows which wire versions each network's facilitator settles."""

    def __init__(self, facilitators: Mapping[str, Supporting]) -> None:
        """`facilitators` is by CAIP-2 id; networks not in it settle in every version."""
        self._facilitators = facilitators
        self._versions: dict[str, frozenset[int]] = {}
        self._task: asyncio.Task[None] | None = None

    def versions(self, network: str) -> frozenset[int]:
        """Return a network's wire versions; empty if its facilitator does not settle on it."""
        return self._versions.get(network, EVERY_VERSION)

    async def start(self) -> None:
        """Ask once, for a few seconds at most, then continue in the background."""
        self._task = asyncio.create_task(self._go_on(), name="facilitator-support")
        first = asyncio.create_task(self.ask())
        await asyncio.wait({first}, timeout=_START_SECONDS)

    async def stop(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def ask(self) -> bool:
        """Ask every facilitator; return False if one did not answer. Never raises."""
        answered = await asyncio.gather(*(self._ask(network) for network in self._facilitators))
        return all(answered)

    async def _ask(self, network: str) -> bool:
        try:
            kinds = await self._facilitators[network].supported()
        except errors.FacilitatorUnavailable as error:
            log.warning("facilitator_support_unknown", network=network, reason=error.reason)
            return False
        names = {network, networks.BY_CAIP2[network].name}
        versions = frozenset(version for version, name in kinds if name in names)
        if versions != self._versions.get(network):
            log.info("facilitator_support", network=network, versions=sorted(versions))
        self._versions[network] = versions
        return True

    async def _go_on(self) -> None:
        pause = _RETRY_SECONDS
        while True:
            await asyncio.sleep(pause)
            pause = _ASK_AGAIN_SECONDS if await self.ask() else _RETRY_SECONDS
