"""Whether the cluster's firewall can keep guests apart, and which addresses belong to its nodes.

Read at intervals, and only if a network is isolated. What cannot be read counts as off: an operator
who asks for isolation sells nothing until we see that it holds. Leases that stand are not touched.

A node that filters with nftables counts once the doctor saw packets stopped there, and until that
program or its version changes.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Literal

import sqlalchemy as sa
import structlog

from pve402.domain import errors, networks
from pve402.leases import cluster, on_sale, rounds, workflow
from pve402.proxmox import errors as pve
from pve402.proxmox import firewall
from pve402.storage import database, proof_rows

log = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 30.0
_STALE_SECONDS = 120.0
_FIRST_LOOK_SECONDS = 5.0
_NOT_READ = "the firewall of the datacenter was not read yet"
_UNPROVEN = (
    "filters with nftables, which was not proven to isolate guests: see `pve402 ops doctor --deep`"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Filter:
    """The program that filters a node's guests; the version is None if we may not read it."""

    program: str
    version: str | None


class FirewallView:
    """The latest state of the datacenter's firewall."""

    def __init__(
        self,
        db: database.Database,
        view: cluster.ClusterView,
        firewalls: firewall.ClusterFirewall,
        selling: on_sale.OnSale,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._view = view
        self._firewalls = firewalls
        self._clock = clock
        self._on_sale = selling
        self._rounds = rounds.Rounds("firewall-view", self._look_if_needed, _INTERVAL_SECONDS)
        selling.when_replaced(self._rounds.wake)
        self._problem: str | None = _NOT_READ
        self._seen_at = float("-inf")
        self._of_nodes: dict[str, frozenset[str]] = {}
        self._of_cluster: frozenset[str] = frozenset()
        self._members: frozenset[str] = frozenset()  # all nodes of the cluster
        self._unproven: frozenset[str] = frozenset()
        self._tried: str | None = None

    async def start(self) -> None:
        """Look once, for a few seconds at most, then go on in the background, if it is needed."""
        await self._rounds.start_after_one(_FIRST_LOOK_SECONDS)

    async def stop(self) -> None:
        """Stop looking."""
        await self._rounds.stop()

    @property
    def _is_needed(self) -> bool:
        networks_on_sale = self._on_sale.now.networks_on_sale
        return any(one.is_isolated for one in networks_on_sale.values())

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

    @property
    def unseen(self) -> frozenset[str]:
        """The nodes of the cluster whose own addresses were never read."""
        return self._members - self._of_nodes.keys()

    @property
    def is_whole(self) -> bool:
        """Whether the addresses are those of all nodes, so that replicas do not contradict."""
        return self.problem is None and not self.unseen

    def addresses_of_nodes(self, *, first: str) -> tuple[str, ...]:
        """Return all addresses of all nodes, those of one node before the others."""
        own = sorted(self._of_nodes.get(first, frozenset()))
        return tuple(dict.fromkeys((*own, *sorted(self.node_addresses))))

    def check(self, network: networks.NetworkProfile) -> None:
        """Raise IsolationUnavailable if guests of this network could not be isolated now."""
        if network.is_isolated and self.problem is not None:
            raise errors.IsolationUnavailable

    def states(self) -> dict[str, Literal["none", "tenant", "unavailable"]]:
        """Return what keeps new guests apart, by the name of each network on sale."""
        isolated: Literal["tenant", "unavailable"] = (
            "tenant" if self.problem is None else "unavailable"
        )
        return {
            name: isolated if network.is_isolated else "none"
            for name, network in self._on_sale.now.networks_on_sale.items()
        }

    def check_node(self, node: str) -> None:
        """Raise BridgeMissing (not on this node) where nobody saw that rules stop packets."""
        if node in self._unproven:
            raise pve.BridgeMissing(f"node {node} {_UNPROVEN}")

    def try_out(self, node: str) -> None:
        """From the next look on, use a node in this process although nothing is proven there.

        For the doctor alone, whose guests are nobody's.
        """
        self._tried = node

    async def proofs(self) -> Mapping[str, proof_rows.Proof]:
        """Return what the doctor saw on each node; nothing before the tables are there."""
        if not await self._db.has_tables():
            return {}
        try:
            async with self._db.read() as tx:
                return await proof_rows.by_node(tx)
        except sa.exc.ProgrammingError:
            return {}

    async def filter_of(self, node: str) -> Filter:
        """Return what filters a node's guests now. Raises ProxmoxError."""
        is_nftables = await self._firewalls.uses_nftables(node)
        program = firewall.NFTABLES if is_nftables else firewall.CLASSIC
        return Filter(program=program, version=await self._firewalls.version(node, program))

    async def look(self) -> None:
        """Read the firewall of the datacenter and its nodes; never raises ProxmoxError."""
        try:
            problem = await self._look()
        except (pve.ProxmoxError, errors.DatabaseUnavailable) as error:
            problem = f"the firewall cannot be read: {workflow.reason_of(error)}"
        if problem != self._problem and problem is not None:
            log.error("isolation_unavailable", reason=problem)
        self._problem = problem
        if problem is None:
            self._seen_at = self._clock()

    async def _look(self) -> str | None:
        problem = await self._firewalls.problem()
        self._of_cluster = frozenset((await self._firewalls.cluster_addresses()).values())
        seen = await self._view.fresh(cluster.REFRESH_SECONDS)
        online = [node.node for node in seen.nodes if node.online]
        self._members = frozenset(node.node for node in seen.nodes)
        kept = self._members & self._of_nodes.keys()
        self._of_nodes = {name: self._of_nodes[name] for name in kept}
        for name in online:
            self._of_nodes[name] = await self._firewalls.addresses(name)
        nftables = [name for name in online if await self._firewalls.uses_nftables(name)]
        self._unproven = frozenset([name for name in nftables if not await self._is_proven(name)])
        if problem is None and online and self._unproven >= set(online):
            return f"every node {_UNPROVEN}"
        return problem

    async def _is_proven(self, node: str) -> bool:
        """Return whether this program was seen to stop packets; of an unread version, any was."""
        if node == self._tried:
            return True
        proof = (await self.proofs()).get(node)
        if proof is None:
            return False
        now = await self.filter_of(node)
        return proof.program == now.program and now.version in {None, proof.version}

    async def _look_if_needed(self) -> None:
        if self._is_needed:
            await self.look()
