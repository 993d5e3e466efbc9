"""The catalogue that a set-up writes: what is sold by default, and a network for tenants."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

from pve402.domain import catalogue
from pve402.setup import sdn_steps

_NAME = "tenants"


@dataclass(frozen=True, kw_only=True)
class Link:
    """What containers are plugged into: a bridge, or the vnet of a zone."""

    bridge: str
    vlan: int | None = None
    zone: str | None = None


OF_SDN = Link(bridge=sdn_steps.VNET, zone=sdn_steps.ZONE)
"""The vnet that a set-up makes."""


@dataclass(frozen=True, kw_only=True)
class Subnet:
    """Where tenants' containers get their addresses."""

    subnet: str
    gateway: str
    ranges: Sequence[str]
    nameservers: Sequence[str]


def write(link: Link, subnet: Subnet | None) -> str:
    """Return the text of a catalogue. Raises CatalogueError for addresses that cannot work."""
    text = (resources.files("pve402.domain") / "default_catalogue.toml").read_text()
    if subnet is not None:
        text += "\n" + "\n".join(_table(link, subnet)) + "\n"
    catalogue.parse(text)
    return text


def _table(link: Link, given: Subnet) -> list[str]:
    family = "ipv6" if ":" in given.subnet else "ipv4"
    pool = {"subnet": given.subnet, "gateway": given.gateway, "ranges": list(given.ranges)}
    words = ", ".join(f"{key} = {json.dumps(value)}" for key, value in pool.items())
    return [
        f"[network.{_NAME}]",
        "default = true",
        *_place(link),
        'isolation = "tenant"',
        f"nameservers = {json.dumps(list(given.nameservers))}",
        f"{family} = {{ {words} }}",
    ]


def _place(link: Link) -> Iterator[str]:
    if link.zone:
        yield f"vnet = {json.dumps(link.bridge)}"
        yield f"zone = {json.dumps(link.zone)}"
    else:
        yield f"bridge = {json.dumps(link.bridge)}"
    if link.vlan is not None:
        yield f"vlan = {link.vlan}"
