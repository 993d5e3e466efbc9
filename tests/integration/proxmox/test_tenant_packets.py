"""Twenty attempts of a tenant, with real packets: what arrived unfiltered, and what no longer does.

The rules are those that an isolated guest gets, written by the calls that the service makes. An
attempt counts as stopped only because the same attempt arrived before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from devnet.tests.integration.wires.conftest import packets
from devnet.tests.support import frames, wire_rig
from devnet.tests.support.wire_rig import GATEWAY, STRANGER, Wires

from pve402.domain import catalogue
from pve402.leases import tenant_rules
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.firewall import ClusterFirewall, GuestFirewalls
from pve402.proxmox.guests import GuestRef
from pve402_devnet.pve.firewall import addresses

__all__ = ["packets"]

pytestmark = pytest.mark.namespaces

TENANT, NEIGHBOUR = 121, 122
A, B = f"10.77.0.{TENANT}", f"10.77.0.{NEIGHBOUR}"
OUTSIDE = "203.0.113.9"
SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()
NETWORK = f"""
[network.lan]
bridge = "vmbr0"
isolation = "tenant"
ipv4 = {{ subnet = "10.77.0.0/24", gateway = "{GATEWAY}", ranges = ["{A}-{B}"] }}
"""


@pytest.fixture
async def wires(packets: None, tmp_path: Path) -> AsyncIterator[Wires]:
    """A node, two guests of which one is the tenant, and a world outside."""
    async with wire_rig.wires(tmp_path) as made:
        tenant = await made.guest(TENANT, firewall="1")
        neighbour = await made.guest(NEIGHBOUR)
        for agent in (tenant, neighbour):
            await agent.do("listen", tcp=[80], udp=[9])
        await made.at_node()
        await made.outside()
        yield made


async def fence(wires: Wires) -> None:
    """Write the tenant's rules as the service does, and let them come to hold."""
    proxmox = wires.client.proxmox
    options = ProxmoxOptions(
        host=proxmox.base_url, token_id=proxmox.token_id, token_secret=proxmox.token_secret
    )
    profile = catalogue.parse(SHIPPED + NETWORK).networks["lan"]
    async with ProxmoxClient(options) as client:
        nodes = await ClusterFirewall(client).addresses("pve")
        ruleset = tenant_rules.rules_of(profile, nodes)
        await GuestFirewalls(client).write(GuestRef(node="pve", vmid=TENANT), ruleset)
    for rule in ({"macro": "DNS"}, {"macro": "Ping"}):  # the router is the node itself here
        await wires.rule("/nodes/pve/firewall/rules", type="in", action="ACCEPT", **rule)
    await wires.options(enable=1)
    await wires.poll()


async def attempts(wires: Wires) -> dict[str, bool]:
    """What of all that a tenant may try arrives."""
    tenant, neighbour = wires.agents[TENANT], wires.agents[NEIGHBOUR]

    async def connects(host: str, port: int) -> bool:
        return bool(await tenant.do("tcp", host=host, port=port) == "open")

    reached = {
        "the node's API": await connects(GATEWAY, 8006),
        "the node's SSH": await connects(GATEWAY, 22),
        "the node's proxy": await connects(GATEWAY, 3128),
        "the router's portmapper": await connects(GATEWAY, 111),
        "the neighbour's web server": await connects(B, 80),
        "mail": await connects(OUTSIDE, 25),
        "the web": await connects(OUTSIDE, 80),
        "a datagram to the neighbour": await tenant.do("udp", host=B, port=9),
        "a datagram from the neighbour": await neighbour.do("udp", host=A, port=9),
        "the neighbour's connection": await neighbour.do("tcp", host=A, port=80) == "open",
        "ping to the neighbour": await tenant.do("ping", host=B),
        "ping to the router": await tenant.do("ping", host=GATEWAY),
        "names from the router": await tenant.do("udp", host=GATEWAY, port=53),
    }
    return reached | dict.fromkeys(await forged(wires), True)


async def forged(wires: Wires) -> set[str]:
    """Which frames of the tenant reach the neighbour's card."""
    macs = own, other = await wires.card(TENANT), await wires.card(NEIGHBOUR)
    here, there = (addresses.link_local(mac) for mac in macs)
    named = {
        "a true datagram": frames.datagram((own, other), (A, B)),
        "a forged hardware address": frames.datagram((STRANGER, other), (A, B)),
        "a forged address": frames.datagram((own, other), ("10.77.0.66", B)),
        "a forged ARP answer": frames.arp((own, other), ("10.77.0.66", B)),
        "link-local IPv6": frames.datagram6(macs, (here, there)),
        "forged link-local IPv6": frames.datagram6(macs, ("fe80::66", there)),
        "a router advertisement": frames.router_advertisement(own, here),
        "the answer of a DHCP server": frames.datagram((own, other), (A, B), ports=(67, 68)),
    }
    return await wires.arrive(TENANT, NEIGHBOUR, **named)


async def test_what_a_tenant_tries_no_longer_arrives(wires: Wires) -> None:
    before = await attempts(wires)
    await fence(wires)

    after = await attempts(wires)

    assert len(before) >= 20
    assert {name for name, arrived in before.items() if not arrived} == set()
    assert {name for name, arrived in after.items() if arrived} == {
        "the web",
        "ping to the router",
        "names from the router",
    }


async def test_a_card_that_is_down_sends_and_receives_nothing(wires: Wires) -> None:
    """The first 11 seconds: rules are written, and nobody has read them yet."""
    await wires.change_card(TENANT, link_down="1")
    tenant, neighbour = wires.agents[TENANT], wires.agents[NEIGHBOUR]

    down = [
        await tenant.do("ping", host=GATEWAY),
        await tenant.do("tcp", host=OUTSIDE, port=80) == "open",
        await neighbour.do("udp", host=A, port=9),
    ]
    await fence(wires)
    await wires.change_card(TENANT, link_down="0")
    up = await tenant.do("ping", host=GATEWAY, patience=3.0)
    closed = await tenant.do("tcp", host=GATEWAY, port=8006)

    assert down == [False, False, False]
    assert up
    assert closed != "open"
