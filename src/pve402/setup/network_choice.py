"""Chooses the network of containers: one of their own where the nodes have a single bridge."""

import dataclasses
from collections.abc import Iterable, Sequence

from pve402.domain.catalogue import Catalogue
from pve402.setup import addresses, catalogue_text, sdn_steps
from pve402.setup.configuration import Asked
from pve402.setup.operator import Cancelled, Operator
from pve402.setup.steps import Site

NAMESERVERS = ("9.9.9.9", "149.112.112.112")
_OFFER = (
    "Containers on your bridge would be machines in your network. Give them a network of their own,"
    " {subnet} in an SDN zone `{zone}`, which leaves by the node's address (NAT)?"
)
_NOT_ISOLATED = (
    "\nThe network {names} keeps containers neither from each other nor from your network. Before"
    " you sell to strangers, read docs/how-to/networking.md, or give --sdn or --subnet."
)


def warn(sold: Catalogue, operator: Operator) -> None:
    """Say which networks on sale isolate nobody."""
    names = [name for name, one in sold.networks_on_sale.items() if not one.is_isolated]
    if names:
        operator.tell(_NOT_ISOLATED.format(names=", ".join(names)))


def with_sdn(asked: Asked, taken: Iterable[addresses.Network]) -> Asked:
    """Return the wish with a subnet for the zone, which overlaps nothing that is taken.

    Raises Cancelled if the subnet that was given does, or cannot be used.
    """
    listed = list(taken)
    given = asked.subnet
    subnet = addresses.subnet_of(given.subnet) if given else addresses.free_subnet(listed)
    if other := addresses.overlapped(subnet, listed):
        raise Cancelled(f"--subnet {subnet} overlaps {other}, which is in use; choose another.")
    gateway, numbers = addresses.gateway_and_range(subnet)
    made = catalogue_text.Subnet(
        subnet=str(subnet),
        gateway=(given.gateway if given else "") or gateway,
        ranges=(given.ranges if given else ()) or (numbers,),
        nameservers=(given.nameservers if given else ()) or NAMESERVERS,
    )
    return dataclasses.replace(asked, subnet=made, sdn=True)


def offered(asked: Asked, taken: Iterable[addresses.Network], operator: Operator) -> Asked:
    """Return the wish with a network of its own if the operator wants it, or without."""
    if asked.sdn is None:
        made = with_sdn(asked, taken)
        subnet = made.subnet.subnet if made.subnet else ""
        wanted = operator.agrees(_OFFER.format(zone=sdn_steps.ZONE, subnet=subnet))
        return made if wanted else dataclasses.replace(asked, sdn=False)
    return with_sdn(asked, taken) if asked.sdn else asked


async def choose(asked: Asked, site: Site, names: Sequence[str], operator: Operator) -> Asked:
    """Return the wish with its network decided by what the nodes have.

    A vnet that an earlier run has made keeps its subnet. Raises Cancelled or ProxmoxError.
    """
    vnets = await site.sdn.vnets()
    if asked.sdn is None and not await _has_one_bridge(site, names, vnets):
        return dataclasses.replace(asked, sdn=False)
    taken = {one for name in names for one in await _subnets_of(site, name, vnets)}
    for vnet in vnets:
        found = addresses.of_subnets(one.cidr for one in await site.sdn.subnets(vnet))
        if vnet == sdn_steps.VNET and found and asked.subnet is None:
            asked = _with_subnet(asked, str(min(found, key=str)))
        elif vnet != sdn_steps.VNET:
            taken |= found
    return offered(asked, taken, operator)


async def _has_one_bridge(site: Site, names: Sequence[str], vnets: Iterable[str]) -> bool:
    known = {*vnets}
    return all([len({*await site.nodes.bridges(name)} - known) == 1 for name in names])


async def _subnets_of(site: Site, node: str, vnets: Iterable[str]) -> frozenset[addresses.Network]:
    held = {**await site.nodes.subnets(node), **dict.fromkeys(vnets, ())}
    return addresses.of_subnets(text for texts in held.values() for text in texts)


def _with_subnet(asked: Asked, subnet: str) -> Asked:
    kept = catalogue_text.Subnet(subnet=subnet, gateway="", ranges=(), nameservers=())
    return dataclasses.replace(asked, subnet=kept)
