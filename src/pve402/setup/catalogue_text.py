"""The catalogue that a set-up writes: what is sold by default, and a network for tenants."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from pve402.domain import catalogue

_NAME = "tenants"


@dataclass(frozen=True, kw_only=True)
class Subnet:
    """Where tenants' containers get their addresses."""

    subnet: str
    gateway: str
    ranges: Sequence[str]
    nameservers: Sequence[str]


def write(bridge: str, vlan: int | None, subnet: Subnet | None) -> str:
    """Return the text of a catalogue. Raises CatalogueError for addresses that cannot work."""
    text = (resources.files("pve402.domain") / "default_catalogue.toml").read_text()
    if subnet is not None:
        text += "\n" + "\n".join(_table(bridge, vlan, subnet)) + "\n"
    catalogue.parse(text)
    return text


def _table(bridge: str, vlan: int | None, given: Subnet) -> list[str]:
    family = "ipv6" if ":" in given.subnet else "ipv4"
    pool = {"subnet": given.subnet, "gateway": given.gateway, "ranges": list(given.ranges)}
    words = ", ".join(f"{key} = {json.dumps(value)}" for key, value in pool.items())
    return [
        f"[network.{_NAME}]",
        "default = true",
        f"bridge = {json.dumps(bridge)}",
        *([] if vlan is None else [f"vlan = {vlan}"]),
        'isolation = "tenant"',
        f"nameservers = {json.dumps(list(given.nameservers))}",
        f"{family} = {{ {words} }}",
    ]
