"""Whether the cluster's firewall can keep guests apart, and which addresses belong to its nodes.

Read at intervals, and only if a network is isolated. What cannot be read counts as off: an operator
who asks for isolation sells nothing until we see that it holds. Leases that stand are not touched.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Literal

import structlog

from pve402.domain import catalogue, errors, networks
from pve402.leases import cluster, workflow
from pve402.proxmox import errors as pve
from pve402.proxmox import firewall

log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 30.0
_STALE_SECONDS = 120.0
_FIRST_LOOK_SECONDS = 5.0
_NOT_READ = "the firewall of the datacenter was not read yet"


class FirewallView:
    """The latest state of the datacenter's firewall."""

    def __init__(
        self,
        view: cluster.ClusterView,
        firewalls: firewall.ClusterFirewall,
        sku_catalogue: catalogue.Catalogue,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._view = view
        self._firewalls = firewalls
        self._clock = clock
        self._is_needed = any(one.is_isolated for one in sku_catalogue.networks_on_sale.values())
        self._problem: str | None = _NOT_READ
        self._seen_at = float("-inf")
        self._of_nodes: dict[str, frozenset[str]] = {}
        self._of_cluster: frozenset[str] = frozenset()
        self._other_filter: frozenset[str] = frozenset()
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look once, for a few seconds at most, then go on in the background, if it is needed."""
        if not self._is_needed:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_LOOK_SECONDS):
                await self.look()
        self._loop = asyncio.create_task(self._look_for_ever(), name="firewall-view")

    async def stop(self) -> None:
        """Stop looking."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    @property
    def problem(self) -> str | None:
        """Why no guest can be isolated now; None if guests can."""
        if self._problem is None and self._clock() - self._seen_at > _STALE_SECONDS:
            return "the firewall of the datacenter could not be read for two minutes"
        return self._problem

    @property
    def node_addresses(self) -> frozenset[str]:
        """All addresses of all nodes, those of nodes that do not answer as they were last seen."""
        return self._of_cluster.union(*self._of_nodes.values())

    def check(self, network: networks.NetworkProfile) -> None:
        """Raise IsolationUnavailable if guests of this network could not be isolated now."""
        if network.is_isolated and self.problem is not None:
            raise errors.IsolationUnavailable

    def states(
        self, sku_catalogue: catalogue.Catalogue
    ) -> dict[str, Literal["none", "tenant", "unavailable"]]:
        """Return what keeps new guests apart, by the name of each network on sale."""
        isolated: Literal["tenant", "unavailable"] = (
            "tenant" if self.problem is None else "unavailable"
        )
        return {
            name: isolated if network.is_isolated else "none"
            for name, network in sku_catalogue.networks_on_sale.items()
        }

    def check_node(self, node: str) -> None:
        """Raise BridgeMissing (not on this node) where rules are applied by another program."""
        if node in self._other_filter:
            raise pve.BridgeMissing(
                f"node {node} filters with nftables, which was not proven to isolate guests"
            )

    async def look(self) -> None:
        """Read the firewall of the datacenter and its nodes; never raises ProxmoxError."""
        try:
            problem = await self._look()
        except pve.ProxmoxError as error:
            problem = f"the firewall cannot be read: {workflow.reason_of(error)}"
        if problem != self._problem and problem is not None:
            log.error("isolation_unavailable", reason=problem)
        self._problem = problem
        if problem is None:
            self._seen_at = self._clock()

    async def _look(self) -> str | None:
        problem = await self._firewalls.problem()
        self._of_cluster = await self._firewalls.cluster_addresses()
        seen = await self._view.fresh(cluster.REFRESH_SECONDS)
        online = [node.node for node in seen.nodes if node.online]
        for name in online:
            self._of_nodes[name] = await self._firewalls.addresses(name)
        other = {name for name in online if await self._firewalls.uses_nftables(name)}
        self._other_filter = frozenset(other)
        if problem is None and online and other >= set(online):
            return "every node filters with nftables, which was not proven to isolate guests"
        return problem

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            try:
                await self.look()
            except Exception:
                log.exception("firewall_view_failed")
