"""Software-defined networks: zones, their vnets and subnets, and whether the nodes took them over.

What is written holds once it was applied. The task of that ends with OK even where a node failed,
so each node is asked for the state of its zones.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pve402.proxmox import answers, parameters, shapes
from pve402.proxmox.client import ProxmoxClient

AVAILABLE = "available"
"""The state of a zone that a node has taken over."""
_ZONES = answers.Call(method="GET", path="/cluster/sdn/zones")
_VNETS = answers.Call(method="GET", path="/cluster/sdn/vnets")


@dataclass(frozen=True, kw_only=True)
class Zone:
    """A zone as written; `has_dhcp` where the nodes hand out addresses in it."""

    kind: str
    has_dhcp: bool


@dataclass(frozen=True, kw_only=True)
class Subnet:
    """Addresses of a vnet as written; `has_snat` where they leave by the node's own."""

    cidr: str
    gateway: str
    has_snat: bool


class Sdn:
    """Reads what SDN has; needs SDN.Audit or SDN.Allocate on each object."""

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    async def zones(self) -> Mapping[str, Zone]:
        """All zones by name."""
        rows = shapes.as_rows(await self._client.call("GET", _ZONES.path), _ZONES)
        return {
            shapes.text(row, "zone", _ZONES): Zone(
                kind=shapes.optional_text(row, "type"),
                has_dhcp=bool(shapes.optional_text(row, "dhcp")),
            )
            for row in rows
        }

    async def vnets(self) -> Mapping[str, str]:
        """The zone of each vnet."""
        rows = shapes.as_rows(await self._client.call("GET", _VNETS.path), _VNETS)
        return {shapes.text(row, "vnet", _VNETS): shapes.text(row, "zone", _VNETS) for row in rows}

    async def subnets(self, vnet: str, *, applied: bool = False) -> tuple[Subnet, ...]:
        """The subnets of a vnet that exists: as written, or as applied."""
        path = parameters.api_path("cluster", "sdn", "vnets", vnet, "subnets")
        call = answers.Call(method="GET", path=path)
        which = {"running": True} if applied else {}
        rows = shapes.as_rows(await self._client.call("GET", path, which), call)
        return tuple(
            Subnet(
                cidr=shapes.text(row, "cidr", call),
                gateway=shapes.optional_text(row, "gateway"),
                has_snat=shapes.optional_whole(row, "snat") == 1,
            )
            for row in rows
        )

    async def waiting(self) -> frozenset[str]:
        """The zones and vnets that were changed and not applied; applying takes them all over."""
        found: set[str] = set()
        for call, name in ((_ZONES, "zone"), (_VNETS, "vnet")):
            data = await self._client.call("GET", call.path, {"pending": True})
            rows = shapes.as_rows(data, call)
            found |= {f"{name} {shapes.text(row, name, call)}" for row in rows if row.get("state")}
        return frozenset(found)

    async def zone_state(self, node: str, zone: str) -> str:
        """What a node says of a zone: available, pending or error; empty if it does not know it."""
        call = answers.Call(method="GET", path=parameters.api_path("nodes", node, "sdn", "zones"))
        for row in shapes.as_rows(await self._client.call("GET", call.path), call):
            if row.get("zone") == zone:
                return shapes.optional_text(row, "status")
        return ""
