"""A network for tenants on nodes that have one bridge: an SDN zone with a subnet of its own.

Each node routes the subnet, and what leaves goes out by the node's own address (SNAT). So
containers are on no bridge of the operator's.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from pve402.domain import networks
from pve402.domain.catalogue import Catalogue
from pve402.proxmox import administration, errors, sdn
from pve402.proxmox.administration import Change
from pve402.setup.operator import Cancelled
from pve402.setup.steps import Site, Step

ZONE, VNET = "tenants", "tenants0"
TAKES_OVER_SECONDS = 20


@dataclass(frozen=True)
class ZoneStep:
    """The zone."""

    what = f"SDN zone {ZONE}"
    changes: Sequence[Change] = (administration.create_zone(ZONE),)

    async def needed(self, site: Site) -> Change | None:
        """Create it unless it is there. Raises Cancelled if it is another kind of zone."""
        found = (await site.sdn.zones()).get(ZONE)
        if found is not None and found.kind != "simple":
            raise Cancelled(f"There is a zone {ZONE} already, of type {found.kind}. {_USE_OWN}")
        return None if found else self.changes[0]


@dataclass(frozen=True)
class VnetStep:
    """The vnet that cards are plugged into."""

    what = f"vnet {VNET}"
    changes: Sequence[Change] = (administration.create_vnet(VNET, ZONE),)

    async def needed(self, site: Site) -> Change | None:
        """Create it unless it is there. Raises Cancelled if it is in another zone."""
        zone = (await site.sdn.vnets()).get(VNET, "")
        if zone not in {"", ZONE}:
            raise Cancelled(f"There is a vnet {VNET} already, in the zone {zone}. {_USE_OWN}")
        return None if zone else self.changes[0]


@dataclass(frozen=True)
class SubnetStep:
    """The subnet, with the node as its router."""

    cidr: str
    gateway: str

    @property
    def what(self) -> str:
        """Subnet and router."""
        return f"subnet {self.cidr} of {VNET}, which leaves by the node's own address"

    @property
    def changes(self) -> Sequence[Change]:
        """Create it."""
        return (administration.create_subnet(VNET, self.cidr, self.gateway),)

    async def needed(self, site: Site) -> Change | None:
        """Create it unless it is there. Raises Cancelled if it is there with another router."""
        if VNET not in await site.sdn.vnets():
            return self.changes[0]
        found = {one.cidr: one for one in await site.sdn.subnets(VNET)}.get(self.cidr)
        wanted = sdn.Subnet(cidr=self.cidr, gateway=self.gateway, has_snat=True)
        if found not in {None, wanted}:
            raise Cancelled(f"The subnet {self.cidr} of {VNET} has another gateway, or no SNAT.")
        return None if found else self.changes[0]


@dataclass(frozen=True)
class ApplyStep:
    """What was written, taken over by the nodes."""

    nodes: Sequence[str]
    cidr: str
    what = "SDN applied on all nodes"
    changes: Sequence[Change] = (administration.apply_networks(),)

    async def needed(self, site: Site) -> Change | None:
        """Apply if the subnet was not applied yet, or a node has not taken the zone over."""
        is_there = VNET in await site.sdn.vnets()
        applied = await site.sdn.subnets(VNET, applied=True) if is_there else ()
        if self.cidr not in {one.cidr for one in applied}:
            return self.changes[0]
        missing = await not_taken_over(site, self.nodes)
        return self.changes[0] if missing else None


OURS = frozenset({f"zone {ZONE}", f"vnet {VNET}"})
_USE_OWN = "Choose another network: docs/how-to/networking.md"


def of_catalogue(catalogue: Catalogue, nodes: Sequence[str]) -> list[Step]:
    """Return what must be there for the network of ours that a catalogue sells; none without it."""
    pool = pool_of(catalogue)
    if pool is None:
        return []
    subnet = SubnetStep(str(pool.subnet), str(pool.gateway))
    return [ZoneStep(), VnetStep(), subnet, ApplyStep(tuple(nodes), subnet.cidr)]


def pool_of(catalogue: Catalogue) -> networks.AddressPool | None:
    """Return the addresses of the network that a set-up has made; None if it is not on sale."""
    for profile in catalogue.networks_on_sale.values():
        if (profile.zone, profile.bridge) == (ZONE, VNET):
            return next((pool for pool in profile.pools if pool.gateway), None)
    return None


async def not_taken_over(site: Site, nodes: Sequence[str]) -> dict[str, str]:
    """Return the nodes that do not have the zone, with what they say of it."""
    states = {node: await site.sdn.zone_state(node, ZONE) for node in nodes}
    return {node: state for node, state in states.items() if state != sdn.AVAILABLE}


async def wait_until_taken_over(site: Site, nodes: Sequence[str]) -> None:
    """Wait for all nodes; the task of applying ends OK also where none followed.

    Raises ProxmoxFault, which names the nodes.
    """
    missing: dict[str, str] = {}
    for _ in range(TAKES_OVER_SECONDS):
        missing = await not_taken_over(site, nodes)
        if not missing:
            return
        await asyncio.sleep(1)
    listed = ", ".join(f"{node} ({state or 'not there'})" for node, state in missing.items())
    raise errors.ProxmoxFault(
        f"the zone {ZONE} is not on {listed}. See there `journalctl -u networking` and whether the"
        " package ifupdown2 is Proxmox VE's"
    )
