"""Rules and options of guests, written through every trap that the real calls set."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support import recordings, scripted_server
from tests.support.installation import simulated_proxmox

from pve402.proxmox import errors
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.firewall import ClusterFirewall, GuestFirewalls, Rule, Ruleset
from pve402.proxmox.guests import GuestRef
from pve402.proxmox.ipam import Ipam
from pve402_devnet.pve.simulator import SimulatedProxmox

CT = GuestRef(node="pve", vmid=10_000)
WANTED = Ruleset(
    options={"enable": "1", "policy_in": "DROP", "policy_out": "ACCEPT", "ipfilter": "1"},
    rules=tuple(
        Rule(direction="out", action="DROP", protocol="tcp", ports=str(port)) for port in (1, 2, 3)
    ),
)


@pytest.fixture
async def proxmox() -> AsyncIterator[SimulatedProxmox]:
    """A cluster of one node."""
    async with simulated_proxmox() as running:
        yield running


@pytest.fixture
async def client(proxmox: SimulatedProxmox) -> AsyncIterator[ProxmoxClient]:
    """A client with all rights."""
    options = ProxmoxOptions(
        host=proxmox.base_url, token_id=proxmox.token_id, token_secret=proxmox.token_secret
    )
    async with ProxmoxClient(options) as made:
        yield made


@pytest.fixture
def firewalls(client: ProxmoxClient) -> GuestFirewalls:
    """What is tested."""
    return GuestFirewalls(client)


class Dying(ProxmoxClient):
    """A client of a process that dies at one of its writing calls."""

    def __init__(self, client: ProxmoxClient, after: int) -> None:
        self._living = client
        self._left = after

    async def call(self, method: str, path: str, params: Any = None) -> Any:
        """Pass a call on, as long as the process lives."""
        if method != "GET":
            if not self._left:
                raise errors.Unreachable
            self._left -= 1
        return await self._living.call(method, path, params)


def ports_of(proxmox: SimulatedProxmox) -> list[Any]:
    """The ports of a guest's rules, in the order in which they are tried."""
    return [rule.get("dport") for rule in proxmox.world.firewalls.read_guest(CT.vmid).rules]


async def test_rules_stand_in_their_order_and_are_on(
    proxmox: SimulatedProxmox, firewalls: GuestFirewalls
) -> None:
    await firewalls.write(CT, WANTED)

    stored = proxmox.world.firewalls.read_guest(CT.vmid)
    assert ports_of(proxmox) == ["1", "2", "3"]
    assert {rule["enable"] for rule in stored.rules} == {1}
    assert {rule["iface"] for rule in stored.rules} == {"net0"}
    assert await firewalls.stands(CT, WANTED)


async def test_writing_twice_changes_nothing(
    proxmox: SimulatedProxmox, firewalls: GuestFirewalls, client: ProxmoxClient
) -> None:
    await firewalls.write(CT, WANTED)
    before = await client.call("GET", CT.path("firewall", "rules"))

    await firewalls.write(CT, WANTED)

    assert await client.call("GET", CT.path("firewall", "rules")) == before


@pytest.mark.parametrize("left", [0, 1, 2, 5])
async def test_what_stood_before_is_replaced_wherever_a_writer_died(
    proxmox: SimulatedProxmox, firewalls: GuestFirewalls, client: ProxmoxClient, left: int
) -> None:
    for _ in range(left):
        rule = {"type": "in", "action": "ACCEPT", "enable": 1}
        await client.call("POST", CT.path("firewall", "rules"), rule)
    await client.call("POST", CT.path("firewall", "ipset"), {"name": "ipfilter-net0"})
    entry = {"cidr": "10.0.0.0/8"}
    await client.call("POST", CT.path("firewall", "ipset", "ipfilter-net0"), entry)
    stale = {"enable": 1, "dhcp": 1, "log_level_in": "info"}
    await client.call("PUT", CT.path("firewall", "options"), stale)

    await firewalls.write(CT, WANTED)

    stored = proxmox.world.firewalls.read_guest(CT.vmid)
    assert ports_of(proxmox) == ["1", "2", "3"]
    assert stored.sets == {}
    assert {name: str(value) for name, value in stored.options.items()} == WANTED.options


@pytest.mark.parametrize("died_after", range(8))
async def test_a_writer_that_died_anywhere_is_taken_up_by_the_next(
    proxmox: SimulatedProxmox, firewalls: GuestFirewalls, client: ProxmoxClient, died_after: int
) -> None:
    old = Rule(direction="in", action="ACCEPT")
    await firewalls.write(CT, Ruleset(options={"enable": "1"}, rules=(old, old)))
    with pytest.raises(errors.Unreachable):
        await GuestFirewalls(Dying(client, died_after)).write(
            CT, Ruleset(options={"dhcp": "0"}, rules=(*WANTED.rules, old, *WANTED.rules))
        )

    await firewalls.write(CT, WANTED)

    assert ports_of(proxmox) == ["1", "2", "3"]


async def test_clearing_leaves_nothing_for_the_next_guest(
    proxmox: SimulatedProxmox, firewalls: GuestFirewalls
) -> None:
    await firewalls.write(CT, WANTED)

    await firewalls.clear(CT)

    stored = proxmox.world.firewalls.read_guest(CT.vmid)
    assert (stored.rules, stored.options, stored.sets) == ([], {}, {})


async def test_the_datacenter_says_whether_rules_hold(
    proxmox: SimulatedProxmox, client: ProxmoxClient
) -> None:
    firewall, options = ClusterFirewall(client), proxmox.world.firewalls.cluster.options

    off = await firewall.problem()
    options["enable"] = 1
    on = await firewall.problem()
    options["ebtables"] = 0
    half = await firewall.problem()

    assert off is not None
    assert "off" in off
    assert on is None
    assert half is not None
    assert "ARP" in half


async def test_a_node_says_which_program_filters(
    proxmox: SimulatedProxmox, client: ProxmoxClient
) -> None:
    firewall = ClusterFirewall(client)

    before = await firewall.uses_nftables("pve")
    proxmox.world.firewalls.node("pve").options["nftables"] = 1

    assert (before, await firewall.uses_nftables("pve")) == (False, True)


async def test_nodes_have_addresses(client: ProxmoxClient) -> None:
    firewall = ClusterFirewall(client)

    named = (await firewall.cluster_addresses()).values()
    assert await firewall.addresses("pve") | {*named}


def recorded(name: str) -> recordings.Recording:
    return next(one for one in recordings.load("recordings2.jsonl") if one.name == name)


async def test_a_real_hosts_options_and_rules_are_understood() -> None:
    options, rules = recorded("fw-options-put-all-after"), recorded("fw-guest-rules-with-group")
    wanted = Ruleset(
        options={
            "enable": "1",
            "dhcp": "0",
            "ndp": "1",
            "radv": "0",
            "macfilter": "1",
            "ipfilter": "0",
            "policy_in": "DROP",
            "policy_out": "DROP",
            "log_level_in": "info",
            "log_level_out": "nolog",
        }
    )
    async with scripted_server.running() as server:
        host = ProxmoxOptions(host=server.url, token_id="a@pve!b", token_secret="c")
        async with ProxmoxClient(host) as asked:
            server.script = [
                scripted_server.data("[]"),
                scripted_server.data(json.dumps(options.data)),
                scripted_server.data("[]"),
                scripted_server.data(json.dumps(rules.data)),
            ]
            same = await GuestFirewalls(asked).stands(CT, wanted)
            other = await GuestFirewalls(asked).stands(CT, wanted)

    assert (same, other) == (True, False)


@pytest.mark.parametrize(
    ("name", "is_on"), [("fw-cluster-options-default", False), ("fw-cluster-options-enabled", True)]
)
async def test_a_real_datacenters_answer_is_understood(name: str, is_on: bool) -> None:
    async with scripted_server.running() as server:
        host = ProxmoxOptions(host=server.url, token_id="a@pve!b", token_secret="c")
        async with ProxmoxClient(host) as asked:
            server.script = [scripted_server.data(json.dumps(recorded(name).data))]

            assert (await ClusterFirewall(asked).problem() is None) is is_on


def test_a_rule_has_the_fields_that_a_real_host_took() -> None:
    rule = Rule(
        direction="out", action="DROP", protocol="tcp", ports="25,465,587", comment="no mail"
    )
    taken = {**recorded("fw-group-rule-add-1").params, "iface": "net0"}
    del taken["pos"]  # which is ignored

    assert rule.facts() == {name: str(value) for name, value in taken.items()}


@pytest.mark.parametrize(
    ("name", "vmid", "hardware_address", "expected"),
    [
        ("sdn-ipam-status-full", 271, "BC:24:11:EA:6A:85", ("10.88.0.50",)),
        ("sdn-ipam-status-full", 271, "bc:24:11:ea:6a:85", ("10.88.0.50",)),
        ("sdn-ipam-status-full", 271, "BC:24:11:00:00:01", ()),
        ("sdn-ipam-status-full", 999, "BC:24:11:00:00:99", ()),
        ("sdn-ipam-status", 271, "BC:24:11:EA:6A:85", ()),
        ("sdn-ipam-status-after", 271, "BC:24:11:EA:6A:85", ()),
    ],
)
async def test_what_a_real_sdn_gave_is_found(
    name: str, vmid: int, hardware_address: str, expected: tuple[str, ...]
) -> None:
    async with scripted_server.running() as server:
        host = ProxmoxOptions(host=server.url, token_id="a@pve!b", token_secret="c")
        async with ProxmoxClient(host) as asked:
            server.script = [scripted_server.data(json.dumps(recorded(name).data))]
            given = await Ipam(asked).addresses_of("rent0", vmid, hardware_address)

    assert given == expected


async def test_a_set_is_made_changed_and_removed(
    proxmox: SimulatedProxmox, firewalls: GuestFirewalls
) -> None:
    def entries() -> list[object]:
        sets = proxmox.world.firewalls.read_guest(CT.vmid).sets
        return [entry["cidr"] for one in sets.values() for entry in one.entries]

    seen = []
    for addresses in ({"10.0.0.5"}, {"10.0.0.5", "2001:db8::5"}, {"10.0.0.6"}):
        wanted = dataclasses.replace(WANTED, sets={"ipfilter-net0": frozenset(addresses)})
        await firewalls.write(CT, wanted)
        assert await firewalls.stands(CT, wanted)
        seen.append(sorted(map(str, entries())))
    await firewalls.write(CT, WANTED)

    assert seen == [["10.0.0.5"], ["10.0.0.5", "2001:db8::5"], ["10.0.0.6"]]
    assert proxmox.world.firewalls.read_guest(CT.vmid).sets == {}
