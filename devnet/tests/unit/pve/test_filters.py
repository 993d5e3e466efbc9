"""What becomes of a rule: the lines of nftables, in each version of IP."""

import pytest

from pve402_devnet.pve.firewall import addresses, files, filters, ruleset

UDP = "meta l4proto 17"
OWN = files.FirewallFile(
    sets={
        "here": files.IpSet(
            entries=[
                {"cidr": "10.0.0.0/30"},
                {"cidr": "10.0.0.2", "nomatch": 1},
                {"cidr": "fc00::1"},
                {"cidr": "gateway"},
            ]
        ),
        "empty": files.IpSet(),
    },
    aliases={"gateway": {"name": "Gateway", "cidr": "10.9.9.9", "ipversion": 4}},
)
CLUSTER = files.FirewallFile(
    sets={"here": files.IpSet(entries=[{"cidr": "192.0.2.0/24"}])},
    aliases={"gateway": {"name": "gateway", "cidr": "192.0.2.1", "ipversion": 4}},
)


@pytest.mark.parametrize(
    ("rule", "lines"),
    [
        ({}, ["drop"]),
        ({"proto": "tcp"}, ["meta l4proto 6 drop"]),
        ({"proto": "tcp", "dport": "25,80:90"}, ["meta l4proto 6 th dport { 25, 80-90 } drop"]),
        (
            {"proto": "udp", "sport": "67", "dport": "68", "source": "10.0.0.1-10.0.0.2"},
            [f"ip saddr {{ 10.0.0.1, 10.0.0.2 }} {UDP} th sport {{ 67 }} th dport {{ 68 }} drop"],
        ),
        ({"proto": "icmp"}, ["meta l4proto icmp drop"]),
        ({"proto": "icmp", "icmp-type": "ping"}, ["icmp type echo-request drop"]),
        (
            {"proto": "ipv6-icmp", "icmp-type": "router-advertisement"},
            ["icmpv6 type nd-router-advert drop"],
        ),
        ({"macro": "Ping"}, ["icmp type echo-request drop", "icmpv6 type echo-request drop"]),
        (
            {"macro": "Web", "dest": "fc00::/7", "ipversion": 6},
            [
                "ip6 daddr { fc00::/7 } meta l4proto 6 th dport { 80 } drop",
                "ip6 daddr { fc00::/7 } meta l4proto 6 th dport { 443 } drop",
            ],
        ),
        (
            {"dest": "+here"},
            [
                "ip daddr { 10.0.0.0/31, 10.0.0.3, 10.9.9.9 } drop",
                "ip6 daddr { fc00::1 } drop",
            ],
        ),
        ({"dest": "+dc/here"}, ["ip daddr { 192.0.2.0/24 } drop"]),
        ({"dest": "dc/gateway"}, ["ip daddr { 192.0.2.1 } drop"]),
        ({"dest": "GATEWAY"}, ["ip daddr { 10.9.9.9 } drop"]),
        ({"dest": "+empty"}, []),
        ({"dest": "+gone"}, []),
        ({"source": "10.0.0.1", "dest": "fc00::1"}, []),
    ],
)
def test_a_rule_becomes_lines(rule: files.Entry, lines: list[str]) -> None:
    whole: files.Entry = {"type": "out", "action": "DROP", **rule}

    assert list(filters.lines_of(whole, (OWN, CLUSTER))) == lines


def test_rules_that_are_off_and_groups_that_are_gone_become_nothing() -> None:
    file = files.FirewallFile(
        options={"enable": 1},
        rules=[
            {"type": "out", "action": "DROP", "proto": "tcp", "enable": 0},
            {"type": "group", "action": "gone", "enable": 1},
            {"type": "out", "action": "DROP", "proto": "udp", "enable": 1, "iface": "net1"},
            {"type": "group", "action": "kept", "enable": 1},
        ],
    )
    rule: files.Entry = {"type": "out", "action": "REJECT", "proto": "sctp", "enable": 1}
    group = files.SecurityGroup(rules=[rule, {**rule, "proto": "esp", "enable": 0}])
    cluster = files.FirewallFile(options={"enable": 1}, groups={"kept": group})
    card = ruleset.FilteredCard(
        vmid=100,
        index=0,
        hardware_address="BC:24:11:00:00:01",
        configured=("10.0.0.9/24",),
        file=file,
    )

    script = ruleset.render(cluster, files.FirewallFile(), [card], node_address="10.0.0.1")

    out = script.partition("chain veth100i0-OUT {\n")[2].partition("}\n}")[0]
    assert "meta l4proto 132 reject" in out
    assert not any(f"meta l4proto {number} " in out for number in (6, 17, 50))


def test_a_link_local_address_is_made_of_the_hardware_address() -> None:
    assert addresses.link_local("BC:24:11:FC:93:B4") == "fe80::be24:11ff:fefc:93b4"
