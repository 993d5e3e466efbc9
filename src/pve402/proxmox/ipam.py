"""Proxmox VE's SDN: the addresses that its own address management (IPAM `pve`) gave.

A container with `ip=dhcp` on a vnet of a zone with `ipam=pve` and `dhcp=dnsmasq` gets an address
when it is made. Its configuration does not tell it, and a range that is used up gives none without
a word: only this list says. Destroying the container frees it.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from pve402.proxmox import answers, parameters, shapes
from pve402.proxmox.client import ProxmoxClient

_STATUS = answers.Call(method="GET", path="/cluster/sdn/ipams/pve/status")


class Ipam:
    """Reads the address management; needs SDN.Audit on the vnet."""

    def __init__(self, client: ProxmoxClient) -> None:
        self._client = client

    async def addresses_of(self, vnet: str, vmid: int, hardware_address: str) -> tuple[str, ...]:
        """Return what a container's card was given on a vnet; empty if nothing."""
        data = await self._client.call(_STATUS.method, _STATUS.path)
        given = [
            shapes.text(row, "ip", _STATUS)
            for row in shapes.as_rows(data, _STATUS)
            if shapes.optional_text(row, "vnet") == vnet
            and shapes.optional_whole(row, "vmid") == vmid
            and (shapes.optional_text(row, "mac") or "").upper() == hardware_address.upper()
        ]
        return tuple(str(ip_address(one)) for one in given)

    async def count_free(self, vnet: str, subnet: IPv4Network | IPv6Network) -> int | None:
        """Return how many addresses a subnet has left to give; None if it has no range."""
        path = parameters.api_path("cluster", "sdn", "vnets", vnet, "subnets")
        call = answers.Call(method="GET", path=path)
        listed = shapes.as_rows(await self._client.call(call.method, call.path), call)
        ranges = [
            one
            for row in listed
            if shapes.optional_text(row, "cidr") == str(subnet)
            for one in _ranges(row, call)
        ]
        if not ranges:
            return None
        data = await self._client.call(_STATUS.method, _STATUS.path)
        taken = {
            int(ip_address(shapes.text(row, "ip", _STATUS)))
            for row in shapes.as_rows(data, _STATUS)
            if shapes.optional_text(row, "vnet") == vnet
        }
        free = [
            last - first + 1 - sum(first <= one <= last for one in taken) for first, last in ranges
        ]
        return sum(free)


def _ranges(row: Mapping[str, Any], call: answers.Call) -> Iterator[tuple[int, int]]:
    """Yield the ends of a subnet's ranges, as numbers."""
    shown = row.get("dhcp-range")
    for one in shown if isinstance(shown, list) else []:
        fields = shapes.as_object(one, call)
        ends = [shapes.text(fields, f"{end}-address", call) for end in ("start", "end")]
        first, last = (int(ip_address(end)) for end in ends)
        yield first, last
