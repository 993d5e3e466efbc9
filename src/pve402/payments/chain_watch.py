"""Watches whether each network's chain is readable; if not, we neither ask for nor take payments.

A chain is readable if its endpoint answers, serves the right chain, and has a fresh block. We check
every few seconds, on separate connections, so a chain recovers without a restart.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from pve402.payments import errors, networks
from pve402.payments.chain import Chain

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class WatchOptions:
    """Settings that define when a chain counts as readable."""

    interval_seconds: float = 5.0
    most_block_age_seconds: float = 300.0
    """If the newest block is older, the endpoint is behind its chain."""
    is_needed: bool = True
    """Whether a chain must be readable to take payments; the wrong one is refused in any case."""


class WrongChain(errors.PaymentError):
    """A network's endpoint serves another chain; the operator must set a different one."""

    def __init__(self, network: str, chain_id: int) -> None:
        super().__init__(f"the endpoint of {network} serves chain {chain_id}")
        self.network = network
        self.chain_id = chain_id


class ChainWatch:
    """Knows which networks are readable, without making a call for each question."""

    def __init__(self, chains: Mapping[str, Chain], options: WatchOptions | None = None) -> None:
        """`chains` maps CAIP-2 ids to the chains to watch; all others count as readable."""
        self._chains = chains
        self._options = options or WatchOptions()
        self._unreadable: dict[str, str] = dict.fromkeys(chains, "not looked at yet")
        self._task: asyncio.Task[None] | None = None

    def is_readable(self, network: str) -> bool:
        """Return whether the network's chain was readable at the last check."""
        return not self._options.is_needed or network not in self._unreadable

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Return the unreadable networks and the reasons, for the operator."""
        return dict(self._unreadable) if self._options.is_needed else {}

    async def start(self) -> None:
        """Check once, then continue in the background.

        Raises:
            WrongChain: an endpoint serves another chain. An endpoint that does not answer raises
                nothing; the background checks wait for it.
        """
        wrong = [found for found in await self._look_at_all() if isinstance(found, WrongChain)]
        if wrong:
            raise wrong[0]
        self._task = asyncio.create_task(self._go_on(), name="chain-watch")

    async def stop(self) -> None:
        """Stop the checks and close the connections."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for chain in self._chains.values():
            await chain.close()

    async def check(self, network: str) -> None:
        """Check one chain now.

        Raises:
            WrongChain: the endpoint serves another chain.
            ChainUnavailable: the endpoint does not answer, or is behind.
        """
        chain = self._chains[network]
        chain_id = await chain.chain_id()
        if chain_id != networks.BY_CAIP2[network].chain_id:
            raise WrongChain(network, chain_id)
        age_seconds = time.time() - (await chain.latest_block()).timestamp_seconds
        if age_seconds > self._options.most_block_age_seconds:
            reason = f"the newest block is {age_seconds:.0f} s old"
            raise errors.ChainUnavailable("eth_getBlockByNumber", reason)

    async def _go_on(self) -> None:
        while True:
            await asyncio.sleep(self._options.interval_seconds)
            await self._look_at_all()

    async def _look_at_all(self) -> list[errors.PaymentError | None]:
        return await asyncio.gather(*(self._look_at(network) for network in self._chains))

    async def _look_at(self, network: str) -> errors.PaymentError | None:
        """Record a chain's state, and log if it changed. Never raises."""
        found: errors.PaymentError | None = None
        try:
            await self.check(network)
        except errors.PaymentError as error:
            found = error
        except Exception as error:  # no error may end the loop that recovers
            log.exception("chain_watch_failed", network=network)
            found = errors.ChainUnavailable("check", type(error).__name__)
        if found is None and self._unreadable.pop(network, None) is not None:
            log.info("chain_readable", network=network)
        elif found is not None and self._unreadable.get(network) != str(found):
            self._unreadable[network] = str(found)
            log.error("chain_unreadable", network=network, reason=str(found))
        return found
