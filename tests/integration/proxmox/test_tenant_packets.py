"""What a tenant may try, with real packets: what arrived unfiltered, and what no longer does.

The rules are those that an isolated guest gets, written by the calls that the service makes. An
attempt counts as stopped only because the same attempt arrived before. The page on networking has
the same table.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path

import pytest
from devnet.tests.integration.wires.conftest import packets
from devnet.tests.support import frames, wire_rig
from devnet.tests.support.wire_rig import GATEWAY, SECOND, STRANGER, Wires

from pve402.domain import catalogue, inbound, networks
from pve402.leases import tenant_rules
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.firewall import ClusterFirewall, GuestFirewalls
from pve402.proxmox.guests import GuestRef
from pve402_devnet.pve.firewall import addresses

__all__ = ["packets"]

pytestmark = pytest.mark.namespaces

TENANT, NEIGHBOUR, FAR = 121, 122, 123  # the last one is on another node
A, B = f"10.77.0.{TENANT}", f"10.77.0.{NEIGHBOUR}"
OUTSIDE, METADATA, PRIVATE = "203.0.113.9", "169.254.169.254", "192.168.99.1"
UPLOADS, LET_IN = 4023, 81
A6, STRANGER6, ABROAD6 = "2001:db8:7::121", "2001:db8:7::66", "2001:db8:f::9"
SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()
NETWORK = f"""
[network.lan]
bridge = "vmbr0"
isolation = "tenant"
inbound = "chosen"
ipv4 = {{ subnet = "10.77.0.0/24", gateway = "{GATEWAY}", ranges = ["{A}-{B}"] }}
"""
BOTH = (
    NETWORK
    + f"""ipv6 = {{ subnet = "2001:db8:7::/64", ranges = ["{A6}-{A6}"] }}
"""
)
LEARNED = f"""
[network.lan]
bridge = "vmbr0"
isolation = "tenant"
ipv4 = {{ subnet = "10.77.0.0/24", gateway = "{GATEWAY}", from = "dhcp" }}
"""
OWN = networks.Allowed(subnet=ip_network(GATEWAY), protocol="tcp", ports=str(UPLOADS))
OPENING = inbound.Opening(protocol="tcp", ports=(str(LET_IN),), source="10.77.0.122/31")
ARRIVES = {
    "the web",
    "ping to the router",
    "names from the router",
    "the listener for uploads, on the node",
    "a connection that the tenant lets in",
    "the question for a neighbour's IPv6 address",
    "a claim to another's IPv6 address",
}


@pytest.fixture
async def wires(packets: None, tmp_path: Path) -> AsyncIterator[Wires]:
    """Two nodes, a tenant and a neighbour on the first one, and a world outside."""
    async with wire_rig.wires(tmp_path, nodes=wire_rig.TWO_NODES) as made:
        tenant = await made.guest(TENANT, firewall="1")
        neighbour = await made.guest(NEIGHBOUR)
        for agent in (tenant, neighbour):
            await agent.do("listen", tcp=[80, LET_IN], udp=[9])
        await (await made.at_node()).do("listen", tcp=[UPLOADS], udp=[])
        await made.outside()
        for address in (METADATA, PRIVATE):
            await made.network.outside.run(["ip", "address", "add", address, "dev", "eth0"])
            await made.network.node("pve").run(["ip", "route", "add", address, "via", OUTSIDE])
        yield made


async def write(
    wires: Wires,
    openings: Sequence[inbound.Opening] | None,
    table: str = NETWORK,
    addresses: Mapping[str, str] | None = None,
) -> None:
    """Write the tenant's rules as the service does."""
    proxmox = wires.client.proxmox
    options = ProxmoxOptions(
        host=proxmox.base_url, token_id=proxmox.token_id, token_secret=proxmox.token_secret
    )
    profile = catalogue.parse(SHIPPED + table).networks["lan"]
    async with ProxmoxClient(options) as client:
        nodes = await ClusterFirewall(client).addresses("pve")
        ruleset = tenant_rules.rules_of(profile, nodes, [OWN], openings, addresses)
        await GuestFirewalls(client).write(GuestRef(node="pve", vmid=TENANT), ruleset)


async def fence(wires: Wires) -> None:
    """Have the tenant's rules come to hold, and the node serve guests what it should."""
    await write(wires, [OPENING])
    served = ({"macro": "DNS"}, {"macro": "Ping"}, {"proto": "tcp", "dport": UPLOADS})
    for rule in served:  # the router is the node itself here
        await wires.rule("/nodes/pve/firewall/rules", type="in", action="ACCEPT", **rule)
    await wires.options(enable=1)
    await wires.poll()


async def attempts(wires: Wires) -> dict[str, set[bool]]:
    """What of all that a tenant may try arrives, wherever its neighbour is."""
    abroad = await attempts_abroad(wires)
    near = [await attempts_on(wires, vmid) for vmid in (NEIGHBOUR, FAR)]
    together = [abroad, *near]
    return {name: {one[name] for one in together if name in one} for name in abroad | near[0]}


async def attempts_abroad(wires: Wires) -> dict[str, bool]:
    """What reaches nodes and the world."""
    tenant = wires.agents[TENANT]

    async def connects(host: str, port: int) -> bool:
        return bool(await tenant.do("tcp", host=host, port=port) == "open")

    return {
        "the node's API": await connects(GATEWAY, 8006),
        "the node's SSH": await connects(GATEWAY, 22),
        "the node's proxy": await connects(GATEWAY, 3128),
        "another node's API": await connects(SECOND, 8006),
        "the router's portmapper": await connects(GATEWAY, 111),
        "mail": await connects(OUTSIDE, 25),
        "the web": await connects(OUTSIDE, 80),
        "a metadata address": await connects(METADATA, 80),
        "a private address behind the router": await connects(PRIVATE, 80),
        "the listener for uploads, on the node": await connects(GATEWAY, UPLOADS),
        "ping to the router": await tenant.do("ping", host=GATEWAY),
        "names from the router": await tenant.do("udp", host=GATEWAY, port=53),
    }


async def attempts_on(wires: Wires, vmid: int) -> dict[str, bool]:
    """What passes between the tenant and a neighbour."""
    tenant, neighbour, host = wires.agents[TENANT], wires.agents[vmid], f"10.77.0.{vmid}"
    reached = {
        "the neighbour's web server": await tenant.do("tcp", host=host, port=80) == "open",
        "a datagram to the neighbour": await tenant.do("udp", host=host, port=9),
        "a datagram from the neighbour": await neighbour.do("udp", host=A, port=9),
        "the neighbour's connection": await neighbour.do("tcp", host=A, port=80) == "open",
        "a connection that the tenant lets in": await neighbour.do("tcp", host=A, port=LET_IN)
        == "open",
        "ping to the neighbour": await tenant.do("ping", host=host),
    }
    return reached | await forged(wires, vmid)


async def forged(wires: Wires, vmid: int) -> dict[str, bool]:
    """Which frames of the tenant reach a neighbour's card."""
    macs = own, other = await wires.card(TENANT), await wires.card(vmid)
    here, there = (addresses.link_local(mac) for mac in macs)
    ips = A, f"10.77.0.{vmid}"
    named = {
        "a true datagram": frames.datagram((own, other), ips),
        "a forged hardware address": frames.datagram((STRANGER, other), ips),
        "a forged address": frames.datagram((own, other), ("10.77.0.66", ips[1])),
        "a forged ARP answer": frames.arp((own, other), ("10.77.0.66", ips[1])),
        "link-local IPv6": frames.datagram6(macs, (here, there)),
        "forged link-local IPv6": frames.datagram6(macs, ("fe80::66", there)),
        "a forged IPv6 address": frames.datagram6(macs, (STRANGER6, ABROAD6)),
        "a forged answer of a neighbour's IPv6 address": frames.neighbour_advertisement(
            macs, (STRANGER6, there), STRANGER6
        ),
        "a claim to another's IPv6 address": frames.neighbour_advertisement(
            macs, (here, there), STRANGER6
        ),
        "IPv6 multicast": frames.datagram6((own, frames.ALL_NODES_MAC), (here, frames.ALL_NODES)),
        "the question for a neighbour's IPv6 address": frames.neighbour_solicitation(
            own, here, there
        ),
        "a router advertisement": frames.router_advertisement(own, here),
        "the answer of a DHCP server": frames.datagram((own, other), ips, ports=(67, 68)),
    }
    arrived = await wires.arrive(TENANT, vmid, **named)
    return {name: name in arrived for name in named}


async def test_what_a_tenant_tries_no_longer_arrives(wires: Wires) -> None:
    await (await wires.guest(FAR, node="pve2")).do("listen", tcp=[80], udp=[9])
    await wires.at_node("pve2")
    before = await attempts(wires)
    await fence(wires)

    after = await attempts(wires)

    assert {name for name, arrived in before.items() if arrived != {True}} == set()
    assert {name for name, arrived in after.items() if arrived == {True}} == ARRIVES
    assert {name for name, arrived in after.items() if arrived != {False}} == ARRIVES
    assert on_the_page() == {name: name in ARRIVES for name in {*before, FIRST_SECONDS}}


async def test_a_card_that_is_down_sends_and_receives_nothing(wires: Wires) -> None:
    """The first 11 seconds: rules are written, and nobody has read them yet."""
    tenant, neighbour = wires.agents[TENANT], wires.agents[NEIGHBOUR]

    async def traffic() -> list[bool]:
        return [
            await tenant.do("ping", host=GATEWAY, patience=3.0),
            await tenant.do("tcp", host=OUTSIDE, port=80) == "open",
            await neighbour.do("udp", host=A, port=9),
        ]

    unfiltered = await traffic()
    await wires.change_card(TENANT, link_down="1")
    down = await traffic()
    await fence(wires)
    await wires.change_card(TENANT, link_down="0")
    up = await traffic()
    closed = await tenant.do("tcp", host=GATEWAY, port=8006)

    assert unfiltered == [True, True, True]
    assert down == [False, False, False]
    assert up == [True, True, False]
    assert closed != "open"


async def test_an_open_connection_outlives_the_rule_that_let_it_in(wires: Wires) -> None:
    await fence(wires)
    neighbour = wires.agents[NEIGHBOUR]
    opened = await neighbour.do("keep", host=A, port=LET_IN)

    await write(wires, [])
    early = await neighbour.do("tcp", host=A, port=LET_IN)
    await wires.poll()

    assert opened
    assert early == "open"  # nobody has read the rules yet
    assert await neighbour.do("more")
    assert await neighbour.do("tcp", host=A, port=LET_IN) != "open"


async def test_of_a_pool_of_ipv6_only_the_own_address_passes(packets: None, tmp_path: Path) -> None:
    async with wire_rig.wires(tmp_path) as wires:
        await wires.guest(TENANT, firewall="1", ip6=f"{A6}/64")
        await wires.guest(NEIGHBOUR)
        macs = await wires.card(TENANT), await wires.card(NEIGHBOUR)
        sources = {"own": A6, "forged": STRANGER6, "foreign": ABROAD6}
        sent = {
            name: frames.datagram6(macs, (source, "2001:db8:f::10"))
            for name, source in sources.items()
        }

        unfiltered = await wires.arrive(TENANT, NEIGHBOUR, **sent)
        await write(wires, None, BOTH, {"ipv4": A, "ipv6": A6})
        await wires.options(enable=1)
        await wires.poll()
        filtered = await wires.arrive(TENANT, NEIGHBOUR, **sent)

        assert unfiltered == {"own", "forged", "foreign"}
        assert filtered == {"own"}


async def test_a_learned_address_is_all_that_passes(packets: None, tmp_path: Path) -> None:
    async with wire_rig.wires(tmp_path) as wires:
        neighbour = await wires.guest(NEIGHBOUR)
        tenant = await wires.guest(TENANT, firewall="1", ip="dhcp")
        await wires.at_node()
        await (await wires.outside()).do("listen", tcp=[], udp=[])
        world = wires.client.proxmox.world
        card = world.guests[TENANT].config.networks()["net0"]
        own = (world.held_address(world.guests[TENANT], card) or "").partition("/")[0]

        async def passes() -> list[bool]:
            macs = mac, other = await wires.card(TENANT), await wires.card(NEIGHBOUR)
            named = {
                "forged": frames.datagram(macs, ("10.77.0.66", B)),
                "arp": frames.arp((mac, other), ("10.77.0.66", B)),
                "server": frames.datagram(macs, (own, B), ports=(67, 68)),
            }
            arrived = await wires.arrive(TENANT, NEIGHBOUR, **named)
            web = await tenant.do("tcp", host=OUTSIDE, port=80) == "open"
            return [web, *(name in arrived for name in named)]

        unfiltered = await passes()
        await write(wires, None, LEARNED)
        await wires.options(enable=1)
        await wires.poll()
        unknown = await passes()
        await write(wires, None, LEARNED, {"ipv4": own})
        await wires.poll()
        known = await passes()

        assert await neighbour.do("ping", host=OUTSIDE)
        assert unfiltered == [True, True, True, True]
        assert unknown == [False, False, True, False]  # ARP is filtered once the set has something
        assert known == [True, False, False, False]


FIRST_SECONDS = "anything in the first 11 seconds"


def on_the_page() -> dict[str, bool]:
    """The attempts that the page lists, and whether it says that they arrive."""
    text = Path("docs/how-to/networking.md").read_text()
    part = text.partition("### What tenants may try")[2].partition("\n#")[0]
    rows = re.findall(r"^\| ([^|]+) \| (arrives|dropped)[^|]* \|$", part, re.MULTILINE)
    return {name: fate == "arrives" for name, fate in rows}
