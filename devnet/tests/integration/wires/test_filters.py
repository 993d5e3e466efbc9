"""What is really filtered: packets between two guests, their node and a world outside.

Each test is a row, or a sentence, of what was measured on a real Proxmox VE 9.2 with the same
packets.
"""

import asyncio

import pytest
from devnet.tests.support import frames
from devnet.tests.support.wire_rig import GATEWAY, STRANGER, Wires

from pve402_devnet.pve.firewall import addresses, macros

pytestmark = pytest.mark.namespaces

TENANT, NEIGHBOUR = 121, 122
A, B = f"10.77.0.{TENANT}", f"10.77.0.{NEIGHBOUR}"
OUTSIDE = "203.0.113.9"
FIREWALL = f"/nodes/pve/lxc/{TENANT}/firewall"
GROUP = "/cluster/firewall/groups/tenant"
FORGED = {"mac", "ip", "arp"}
EVERYTHING = {"true", *FORGED}
PRIVATE = (
    *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"),
    *("100.64.0.0/10", "fc00::/7", "fe80::/10"),
)


async def two_guests(wires: Wires, **card: str) -> None:
    """A tenant whose card has the firewall's flag, and a neighbour whose card has not."""
    tenant = await wires.guest(TENANT, **{"firewall": "1", **card})
    neighbour = await wires.guest(NEIGHBOUR)
    for agent in (tenant, neighbour):
        await agent.do("listen", tcp=[80], udp=[9])


async def passing(wires: Wires, address: str = A) -> set[str]:
    """Which frames of the tenant reach the neighbour: a true one, and forged ones."""
    own, other = await wires.card(TENANT), await wires.card(NEIGHBOUR)
    return await wires.arrive(
        TENANT,
        NEIGHBOUR,
        true=frames.datagram((own, other), (address, B)),
        mac=frames.datagram((STRANGER, other), (address, B)),
        ip=frames.datagram((own, other), ("10.77.0.66", B)),
        arp=frames.arp((own, other), ("10.77.0.66", B)),
    )


async def link_local(wires: Wires) -> set[str]:
    """Which datagrams to the neighbour's link-local address arrive: a true one, and a forged."""
    macs = (await wires.card(TENANT), await wires.card(NEIGHBOUR))
    own, other = (addresses.link_local(mac) for mac in macs)
    return await wires.arrive(
        TENANT,
        NEIGHBOUR,
        true=frames.datagram6(macs, (own, other)),
        forged=frames.datagram6(macs, ("fe80::66", other)),
    )


async def inward(wires: Wires) -> bool:
    """Whether the neighbour can begin to talk to the tenant."""
    return bool(await wires.agents[NEIGHBOUR].do("udp", host=A, port=9))


@pytest.mark.parametrize(
    ("guest", "datacenter", "expected", "lets_in"),
    [
        (None, None, EVERYTHING, True),
        (1, None, EVERYTHING, True),
        (0, 1, EVERYTHING, True),
        (1, 1, EVERYTHING - {"mac"}, False),
    ],
)
async def test_a_guest_is_filtered_where_card_guest_and_datacenter_say_so(
    wires: Wires, guest: int | None, datacenter: int | None, expected: set[str], lets_in: bool
) -> None:
    await two_guests(wires)
    if guest is not None:
        await wires.options(TENANT, enable=guest)
    if datacenter is not None:
        await wires.options(enable=datacenter)

    await wires.poll()

    assert await passing(wires) == expected
    assert await inward(wires) is lets_in


async def test_the_flag_of_a_running_guest_opens_and_closes_it(wires: Wires) -> None:
    await two_guests(wires, firewall="0")
    await wires.options(TENANT, enable=1)
    await wires.options(enable=1)
    seen = []
    for flag in ("0", "1", "0", "1"):
        await wires.change_card(TENANT, firewall=flag)
        await wires.poll()
        seen.append(await inward(wires))

    assert seen == [True, False, True, False]


async def test_a_change_holds_once_the_firewall_has_looked(wires: Wires) -> None:
    await wires.options(enable=1)
    await wires.poll()
    await wires.options(TENANT, enable=1, policy_in="DROP", policy_out="DROP")
    await two_guests(wires)

    before = await inward(wires), "true" in await passing(wires)
    await wires.poll()
    after = await inward(wires), "true" in await passing(wires)

    assert (before, after) == ((True, True), (False, False))


async def test_the_address_filter_of_a_static_guest_stops_what_is_forged(wires: Wires) -> None:
    await two_guests(wires)
    await wires.options(TENANT, enable=1, ipfilter=1)
    await wires.options(enable=1)

    before = await link_local(wires)
    await wires.poll()

    assert await passing(wires) == {"true"}
    assert (before, await link_local(wires)) == ({"true", "forged"}, {"true"})


async def test_the_address_filter_of_a_leased_guest_stops_all_but_arp(wires: Wires) -> None:
    await two_guests(wires, ip="dhcp")
    address = wires.client.proxmox.world.dhcp_address(
        "pve", wires.client.proxmox.world.guests[TENANT].config.networks()["net0"]
    )
    assert address is not None
    host = address.partition("/")[0]
    await wires.options(TENANT, enable=1, ipfilter=1)
    await wires.options(enable=1)

    await wires.poll()
    without_set = await passing(wires, host)
    await wires.api("POST", f"{FIREWALL}/ipset", name="ipfilter-net0")
    await wires.api("POST", f"{FIREWALL}/ipset/ipfilter-net0", cidr=host)
    await wires.poll()
    with_set = await passing(wires, host)

    assert (without_set, with_set) == ({"arp"}, {"true"})


async def test_a_set_filters_without_the_option_and_a_mask_lets_the_network_in(
    wires: Wires,
) -> None:
    await two_guests(wires)
    await wires.options(TENANT, enable=1)
    await wires.options(enable=1)
    await wires.api("POST", f"{FIREWALL}/ipset", name="ipfilter-net0")

    await wires.poll()
    empty = await passing(wires)
    await wires.api("POST", f"{FIREWALL}/ipset/ipfilter-net0", cidr=f"{A}/24")
    await wires.poll()
    wide = await passing(wires)

    assert empty == {"true", "arp"}
    assert wide == EVERYTHING - {"mac"}


async def test_a_node_that_is_filtered_gives_addresses_once_a_rule_says_so(wires: Wires) -> None:
    await wires.options(enable=1)
    await wires.poll()
    await wires.guest(TENANT, leased=False, ip="dhcp")

    await wires.poll()
    refused = await _interfaces(wires)
    rule = {"type": "in", "action": "ACCEPT", "proto": "udp", "dport": "67"}
    await wires.rule("/nodes/pve/firewall/rules", **rule)
    await wires.poll()
    given: list[str] = []
    for _ in range(50):  # an address shows a while after the answer, and a busy machine is late
        await wires.poll()
        given = await _interfaces(wires)
        if given:
            break
        await asyncio.sleep(0.1)

    assert (refused, given) == ([], ["10.77.0.100"])


@pytest.mark.parametrize("dhcp", [None, 0])
async def test_leases_are_asked_for_before_any_filter(wires: Wires, dhcp: int | None) -> None:
    await two_guests(wires)
    given = {} if dhcp is None else {"dhcp": dhcp}
    await wires.options(TENANT, enable=1, ipfilter=1, policy_out="DROP", **given)
    await wires.options(enable=1)
    own, other = await wires.card(TENANT), await wires.card(NEIGHBOUR)
    nobody = ("0.0.0.0", B)

    await wires.poll()
    passed = await wires.arrive(
        TENANT,
        NEIGHBOUR,
        true=frames.datagram((own, other), nobody, ports=(68, 67)),
        forged=frames.datagram((STRANGER, other), nobody, ports=(68, 67)),
        served=frames.datagram((own, other), (A, B), ports=(67, 68)),
    )

    assert passed == ({"true", "forged"} if dhcp is None else set())


async def test_only_a_guest_that_may_is_a_router(wires: Wires) -> None:
    await two_guests(wires)
    await wires.options(TENANT, enable=1)
    await wires.options(enable=1)
    advertised = frames.router_advertisement(await wires.card(TENANT), "fe80::1")

    await wires.poll()
    silent = await wires.arrive(TENANT, NEIGHBOUR, radv=advertised)
    await wires.options(TENANT, radv=1)
    await wires.poll()
    heard = await wires.arrive(TENANT, NEIGHBOUR, radv=advertised)

    assert (silent, heard) == (set(), {"radv"})


async def test_an_open_connection_survives_a_new_rule(wires: Wires) -> None:
    await two_guests(wires)
    await wires.options(TENANT, enable=1)
    await wires.options(enable=1)
    await wires.poll()
    tenant = wires.agents[TENANT]

    assert await tenant.do("keep", host=B, port=80)
    await wires.rule(f"{FIREWALL}/rules", type="out", action="DROP", dest=B)
    await wires.poll()

    assert await tenant.do("more")
    assert await tenant.do("tcp", host=B, port=80) == "silent"


async def test_the_node_is_filtered_with_the_datacenter_but_for_its_own_network(
    wires: Wires,
) -> None:
    await two_guests(wires)
    await wires.at_node()
    tenant = wires.agents[TENANT]

    async def reached() -> dict[str, object]:
        ports = {port: await tenant.do("tcp", host=GATEWAY, port=port) for port in (8006, 22, 111)}
        return {
            "ping": await tenant.do("ping", host=GATEWAY),
            "dns": await tenant.do("udp", host=GATEWAY, port=53),
            **{str(port): state == "open" for port, state in ports.items()},
        }

    before = await reached()
    await wires.options(enable=1)
    await wires.poll()
    on = await reached()
    await wires.api("POST", "/cluster/firewall/aliases", name="local_network", cidr=f"{GATEWAY}/32")
    for macro in ("Ping", "DNS"):
        path = "/nodes/pve/firewall/rules"
        await wires.rule(path, type="in", action="ACCEPT", macro=macro, iface="vmbr0")
    await wires.poll()
    narrowed = await reached()
    await wires.api("PUT", "/nodes/pve/firewall/options", enable=0)
    await wires.poll()
    off = await reached()

    assert before == off == dict.fromkeys(before, True)
    assert on == {"ping": False, "dns": False, "8006": True, "22": True, "111": False}
    assert narrowed == {"ping": True, "dns": True, "8006": False, "22": False, "111": False}


@pytest.mark.parametrize("address", [f"{A}/24", "dhcp"])
async def test_the_rules_for_tenants_hold(wires: Wires, address: str) -> None:
    """Gateway and world yes; neighbour, the node's services, mail and everything forged no."""
    await two_guests(wires, ip=address)
    await wires.at_node()
    await wires.outside()
    tenant = wires.agents[TENANT]
    own = (await _interfaces(wires))[0]
    await _rules_for_tenants(wires, own if address == "dhcp" else None)
    await wires.poll()

    reached = {
        "gateway": await tenant.do("ping", host=GATEWAY),
        "dns": await tenant.do("udp", host=GATEWAY, port=53),
        "web": await tenant.do("tcp", host=OUTSIDE, port=80),
        "mail": await tenant.do("tcp", host=OUTSIDE, port=25),
        "api": await tenant.do("tcp", host=GATEWAY, port=8006),
        "ssh": await tenant.do("tcp", host=GATEWAY, port=22),
        "neighbour": await tenant.do("udp", host=B, port=9),
        "inward": await wires.agents[NEIGHBOUR].do("udp", host=own, port=9),
    }

    assert reached == {
        "gateway": True,
        "dns": True,
        "web": "open",
        "mail": "silent",
        "api": "silent",
        "ssh": "silent",
        "neighbour": False,
        "inward": False,
    }
    assert await passing(wires, own) == set()
    assert await link_local(wires) == set()
    served = frames.datagram(
        (await wires.card(TENANT), await wires.card(NEIGHBOUR)), (own, OUTSIDE), ports=(67, 68)
    )
    assert await wires.arrive(TENANT, NEIGHBOUR, served=served) == set()


async def test_every_macro_is_a_filter(wires: Wires) -> None:
    for macro in macros.MACROS:
        await wires.rule(f"{FIREWALL}/rules", type="in", action="REJECT", macro=macro)
    await two_guests(wires)
    await wires.options(TENANT, enable=1, policy_in="ACCEPT")
    await wires.options(enable=1)

    await wires.poll()

    listed = await wires.network.node("pve").run(["nft", "list", "table", "inet", "pve"])
    assert "113" in listed
    assert await inward(wires)


async def _interfaces(wires: Wires) -> list[str]:
    shown = await wires.client.call("GET", f"/nodes/pve/lxc/{TENANT}/interfaces")
    return [
        one["ip-address"]
        for card in shown.data
        if card["name"] == "eth0"
        for one in card["ip-addresses"]
        if one["ip-address-type"] == "inet"
    ]


async def _rules_for_tenants(wires: Wires, leased: str | None) -> None:
    """The set of rules, last first, for each new one goes to the top."""
    await wires.api("POST", "/cluster/firewall/ipset", name="private")
    for cidr in PRIVATE:
        await wires.api("POST", "/cluster/firewall/ipset/private", cidr=cidr)
    await wires.api("POST", "/cluster/firewall/groups", group="tenant")
    await wires.rule(GROUP, type="out", action="DROP", dest="+private")
    await wires.rule(GROUP, type="out", action="ACCEPT", proto="icmp", dest=GATEWAY)
    await wires.rule(GROUP, type="out", action="ACCEPT", macro="DNS", dest=GATEWAY)
    await wires.rule(GROUP, type="out", action="DROP", proto="udp", sport="67", dport="68")
    await wires.rule(GROUP, type="out", action="DROP", proto="tcp", dport="25,465,587")
    await wires.rule(f"{FIREWALL}/rules", type="group", action="tenant", iface="net0")
    await wires.options(TENANT, enable=1, ipfilter=1, policy_in="DROP", policy_out="ACCEPT")
    if leased:
        await wires.api("POST", f"{FIREWALL}/ipset", name="ipfilter-net0")
        await wires.api("POST", f"{FIREWALL}/ipset/ipfilter-net0", cidr=leased)
    for macro in ("Ping", "DNS"):
        await wires.rule("/nodes/pve/firewall/rules", type="in", action="ACCEPT", macro=macro)
    await wires.options(enable=1)
