"""The rules of a tenant: their order, what they never let through, and how they fit Proxmox VE."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.domain.test_networks import SHIPPED

from pve402.domain import catalogue, inbound, networks
from pve402.leases import tenant_rules
from pve402.proxmox import firewall

TENANT = """
[network.lan]
bridge = "vmbr1"
isolation = "tenant"
nameservers = ["9.9.9.9", "fd00::53"]
ipv4 = { subnet = "203.0.113.0/24", gateway = "203.0.113.1", ranges = ["203.0.113.9"] }
ipv6 = { subnet = "2001:db8::/64", gateway = "fe80::1", ranges = ["2001:db8::9"] }
"""
LISTED = 'egress = [{ address = "10.1.0.0/16", protocol = "tcp", ports = [443, 8443] }]\n'
NODES = ("198.51.100.7", "2001:db8:ffff::7")
NEVER = [
    *("10.9.9.9", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "203.0.113.50"),
    *("203.0.113.1", "198.51.100.7", "224.0.0.251", "fd00::1", "fe80::2", "2001:db8::50"),
    *("2001:db8:ffff::7", "fe80::1", "ff02::1", "ff02::fb", "ff02::16", "ff05::1:3"),
]


def profile(more: str = "") -> networks.NetworkProfile:
    return catalogue.parse(SHIPPED + TENANT + more).networks["lan"]


def verdict(ruleset: firewall.Ruleset, to: str, protocol: str = "tcp", port: int = 8006) -> str:
    """What becomes of a packet, tried by each rule in its order as Proxmox VE does."""
    for rule in ruleset.rules:
        if rule.direction == "out" and _matches(rule, to, protocol, port):
            return rule.action
    return ruleset.options["policy_out"]


def _matches(rule: firewall.Rule, to: str, protocol: str, port: int) -> bool:
    if rule.dest and not any(_is_in(to, part) for part in rule.dest.split(",")):
        return False
    if rule.macro:
        return rule.macro == "DNS" and protocol in {"tcp", "udp"} and port == 53
    if rule.protocol and rule.protocol != protocol:
        return False
    if rule.source_ports:
        return False
    return not rule.ports or str(port) in rule.ports.split(",")


def _is_in(to: str, part: str) -> bool:
    network = ip_network(part)
    return network.version == ip_address(to).version and ip_address(to) in network


@pytest.mark.parametrize("to", NEVER)
@pytest.mark.parametrize("port", [22, 80, 8006, 1900, 5351])
def test_there_is_no_way_inside(to: str, port: int) -> None:
    ruleset = tenant_rules.rules_of(profile(), NODES)

    assert verdict(ruleset, to, "tcp", port) == verdict(ruleset, to, "udp", port) == "DROP"


@pytest.mark.parametrize(
    ("to", "protocol", "port", "expected"),
    [
        ("1.1.1.1", "tcp", 443, "ACCEPT"),
        ("2606:4700::1111", "tcp", 443, "ACCEPT"),
        ("1.1.1.1", "tcp", 25, "DROP"),
        ("1.1.1.1", "tcp", 465, "DROP"),
        ("2606:4700::1111", "tcp", 587, "DROP"),
        ("203.0.113.1", "udp", 53, "ACCEPT"),
        ("203.0.113.1", "icmp", 0, "ACCEPT"),
        ("fe80::1", "ipv6-icmp", 0, "ACCEPT"),
        ("ff02::16", "ipv6-icmp", 0, "ACCEPT"),
        ("ff02::1", "ipv6-icmp", 0, "DROP"),
        ("fe80::1", "tcp", 53, "ACCEPT"),
        ("fd00::53", "udp", 53, "ACCEPT"),
        ("fd00::53", "tcp", 80, "DROP"),
        ("10.1.2.3", "tcp", 443, "DROP"),
    ],
)
def test_the_way_out_is_open(to: str, protocol: str, port: int, expected: str) -> None:
    assert verdict(tenant_rules.rules_of(profile(), NODES), to, protocol, port) == expected


def test_a_list_is_all_that_is_open() -> None:
    ruleset = tenant_rules.rules_of(profile(LISTED), NODES)

    assert verdict(ruleset, "10.1.2.3", "tcp", 443) == "ACCEPT"
    assert verdict(ruleset, "10.1.2.3", "udp", 443) == "DROP"
    assert verdict(ruleset, "1.1.1.1", "tcp", 443) == "DROP"
    assert verdict(ruleset, "203.0.113.1", "udp", 53) == "ACCEPT"


def test_nothing_is_open_but_ping_to_the_router() -> None:
    ruleset = tenant_rules.rules_of(profile('egress = "none"\n'), NODES)

    assert verdict(ruleset, "1.1.1.1", "tcp", 443) == "DROP"
    assert verdict(ruleset, "203.0.113.1", "udp", 53) == "DROP"
    assert verdict(ruleset, "203.0.113.1", "icmp", 0) == "ACCEPT"


def test_who_is_let_in_is_the_profiles_choice() -> None:
    closed = tenant_rules.rules_of(profile(), NODES)
    opened = tenant_rules.rules_of(profile('inbound = "open"\n'), NODES)

    assert (closed.options["policy_in"], opened.options["policy_in"]) == ("DROP", "ACCEPT")


def test_no_guest_may_forge_or_serve_addresses() -> None:
    options = tenant_rules.rules_of(profile(), NODES).options

    assert options.items() >= {"ipfilter": "1", "macfilter": "1", "radv": "0"}.items()
    assert options["dhcp"] == "0"


OWN = networks.Allowed(subnet=ip_network("198.51.100.7"), protocol="tcp", ports="4023")


@pytest.mark.parametrize("egress", ["", 'egress = "none"\n', LISTED])
def test_our_own_address_is_open_at_one_port_alone(egress: str) -> None:
    """It is a node's here, whose API stays out of reach."""
    ruleset = tenant_rules.rules_of(profile(egress), NODES, [OWN])

    assert verdict(ruleset, "198.51.100.7", "tcp", 4023) == "ACCEPT"
    assert verdict(ruleset, "198.51.100.7", "udp", 4023) == "DROP"
    for port in (22, 3128, 4022, 8006):
        assert verdict(ruleset, "198.51.100.7", "tcp", port) == "DROP"


SSH = inbound.Opening(protocol="tcp", ports=("22", "8000-8100"), source="192.0.2.0/24")
PING = inbound.Opening(protocol="ping")


@pytest.mark.parametrize(
    ("word", "openings", "policy", "rules"),
    [
        ("closed", None, "DROP", 0),
        ("closed", (SSH, PING), "DROP", 0),
        ("open", None, "ACCEPT", 0),
        ("open", (), "DROP", 0),
        ("open", (SSH,), "DROP", 1),
        ("chosen", None, "DROP", 0),
        ("chosen", (SSH, PING), "DROP", 2),
    ],
)
def test_a_tenant_chooses_within_what_the_network_offers(
    word: str, openings: tuple[inbound.Opening, ...] | None, policy: str, rules: int
) -> None:
    ruleset = tenant_rules.rules_of(profile(f'inbound = "{word}"\n'), NODES, (), openings)

    inward = [rule for rule in ruleset.rules if rule.direction == "in"]
    assert (ruleset.options["policy_in"], len(inward)) == (policy, rules)
    assert {rule.action for rule in inward} <= {"ACCEPT"}


def test_an_opening_is_written_as_proxmox_has_it() -> None:
    ruleset = tenant_rules.rules_of(profile('inbound = "chosen"\n'), NODES, (), (SSH, PING))

    ssh, ping = (rule.facts() for rule in ruleset.rules if rule.direction == "in")
    assert ssh.items() >= {"proto": "tcp", "dport": "22,8000:8100", "source": SSH.source}.items()
    assert (ping["macro"], ping["iface"], ping["enable"]) == ("Ping", "net0", "1")


def test_what_is_dropped_is_logged_where_the_operator_wants_it() -> None:
    quiet, told = (tenant_rules.rules_of(profile(text), NODES) for text in ("", 'log = "drops"\n'))

    assert told.options.items() - quiet.options.items() == {
        ("log_level_in", "info"),
        ("log_level_out", "info"),
    }
    assert {rule.log for rule in quiet.rules} == {""}
    assert {(rule.action, rule.log) for rule in told.rules} == {("DROP", "info"), ("ACCEPT", "")}


def test_a_learned_address_is_what_may_be_sent_from() -> None:
    table = """
    [network.lan]
    vnet = "web"
    zone = "tenants"
    isolation = "tenant"
    ipv4 = { subnet = "10.50.0.0/24", gateway = "10.50.0.1", from = "sdn" }
    ipv6 = { subnet = "2001:db8::/64", from = "auto" }
    """
    network = catalogue.parse(SHIPPED + table).networks["lan"]
    known = {"ipv4": "10.50.0.9", "ipv6": "2001:db8::9"}

    before = tenant_rules.rules_of(network, NODES)
    after = tenant_rules.rules_of(network, NODES, addresses=known)

    assert before.sets == {}
    assert after.sets == {"ipfilter-net0": frozenset(known.values())}
    assert after.options["dhcp"] == "1"  # it asks for its address
    assert verdict(after, "10.50.0.1", "udp", 53) == "ACCEPT"
    assert verdict(after, "10.50.0.7", "tcp", 80) == "DROP"
    assert verdict(after, "2001:db8::7", "tcp", 80) == "DROP"


def test_nobody_comes_in_until_the_address_is_known_that_is_read_from_the_guest() -> None:
    table = """
    [network.lan]
    bridge = "vmbr1"
    isolation = "tenant"
    inbound = "open"
    ipv4 = { subnet = "10.50.0.0/24", gateway = "10.50.0.1", from = "dhcp" }
    ipv6 = { subnet = "2001:db8::/64", gateway = "fe80::1", ranges = ["2001:db8::9"] }
    """
    network = catalogue.parse(SHIPPED + table).networks["lan"]
    pooled = {"ipv6": "2001:db8::9"}

    before = tenant_rules.rules_of(network, NODES, addresses=pooled)
    chosen = tenant_rules.rules_of(network, NODES, openings=(SSH,), addresses=pooled)
    after = tenant_rules.rules_of(network, NODES, addresses={**pooled, "ipv4": "10.50.0.9"})

    assert (before.options["policy_in"], after.options["policy_in"]) == ("DROP", "ACCEPT")
    assert [rule for rule in chosen.rules if rule.direction == "in"] == []


def test_other_choices_have_another_name() -> None:
    names = {
        str(tenant_rules.key_of(own, openings, nodes))
        for own in ((), (OWN,))
        for openings in (None, (), (SSH,), (PING,))
        for nodes in ((), NODES)
    }

    assert len(names) == 16


def test_a_row_keeps_both_names() -> None:
    key = tenant_rules.key_of((OWN,), (SSH,), NODES)

    assert tenant_rules.Key.parse(str(key)) == key
    assert len(str(key)) == 16
    assert tenant_rules.key_of((OWN,), (SSH,), NODES[::-1]) == key


@given(st.sets(st.ip_addresses(), max_size=60))
def test_every_rule_fits_proxmox(addresses: set[object]) -> None:
    nodes = [str(one) for one in addresses if "%" not in str(one)]

    ruleset = tenant_rules.rules_of(profile(), nodes)

    for rule in ruleset.rules:
        versions = {ip_network(part).version for part in rule.dest.split(",") if part}
        assert len(versions) <= 1
        assert len(rule.dest) <= 512
        assert rule.facts()["enable"] == "1"
    assert all(verdict(ruleset, one) == "DROP" for one in nodes)


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ('ipv4 = "dhcp"', r'ipv4: isolation = "tenant" needs a pool'),
        ('ipv6 = "auto"\nipv4 = { subnet = "10.0.0.0/8", ranges = ["10.0.0.9"] }', "ipv6: iso"),
        ('ipv4 = "dhcp"\negress = "some"', "egress"),
        ('ipv4 = { subnet = "10.0.0.0/8", from = "sdn" }', "needs a vnet"),
        ('ipv4 = { subnet = "10.0.0.0/8", from = "auto" }', "from: must be"),
        ('ipv4 = { from = "dhcp" }', "subnet"),
        ('ipv4 = { subnet = "10.0.0.0/8", from = "dhcp", ranges = [] }', "unknown key"),
        ('ipv6 = { subnet = "2001:db8::/48", from = "auto" }', "must be a /64"),
        ('ipv6 = { subnet = "2001:db8::/64", from = "dhcp" }', "from: must be"),
        ('ipv4 = "dhcp"\ninbound = "maybe"', "inbound"),
        ('ipv4 = "dhcp"\negress = [1]', "egress"),
        (f'ipv4 = "dhcp"\n{LISTED.replace("tcp", "sctp")}', "protocol must be"),
        (f'ipv4 = "dhcp"\n{LISTED.replace("[443, 8443]", "[]")}', "ports must be"),
        (f'ipv4 = "dhcp"\n{LISTED.replace("8443", "99999")}', "a port is 1 to"),
        (f'ipv4 = "dhcp"\n{LISTED.replace("10.1.0.0/16", "10.1.0.1/16")}', "host bits"),
    ],
)
def test_an_isolation_that_cannot_hold_is_refused(more: str, place: str) -> None:
    table = f'\n[network.lan]\nbridge = "vmbr1"\nisolation = "tenant"\n{more}\n'

    with pytest.raises(catalogue.CatalogueError, match=place):
        catalogue.parse(SHIPPED + table)


@pytest.mark.parametrize(
    "more",
    [
        *('egress = "none"', 'inbound = "closed"', 'isolation = "full"', 'log = "drops"'),
        'ipv6 = { subnet = "2001:db8::/64", from = "auto" }',
    ],
)
def test_rules_need_isolation(more: str) -> None:
    table = f'\n[network.lan]\nbridge = "vmbr1"\nipv4 = "dhcp"\n{more}\n'

    with pytest.raises(
        catalogue.CatalogueError, match=more.partition(" ")[0].replace("ipv6", "from")
    ):
        catalogue.parse(SHIPPED + table)
