"""Which rules each node gets before the datacenter's firewall is switched on."""

from ipaddress import ip_network

from pve402.setup import addresses, commands, firewall_steps
from pve402.setup.firewall_steps import LocalNetworkStep, Place, RuleStep

DESK = addresses.parse(["192.0.2.7", "2001:db8::/64"])
A = Place(
    node="a",
    hosts=(ip_network("10.99.0.1"), ip_network("10.77.0.1"), ip_network("2001:db8:1::1")),
    bridges=("vmbr0",),
)
B = Place(node="b", hosts=(ip_network("10.99.0.2"), ip_network("10.77.0.1")), bridges=())


def rules(*places: Place, narrows: bool = True) -> list[dict[str, str]]:
    """What the rules of the first node say, without their comments."""
    found = firewall_steps.steps(places, DESK, (8006, 22), narrows=narrows)
    return [
        {name: value for name, value in one.rule.facts().items() if name != "comment"}
        for one in found
        if isinstance(one, RuleStep) and one.node == places[0].node
    ]


def accepted(**facts: str) -> dict[str, str]:
    """A rule that lets something in."""
    return {"type": "in", "action": "ACCEPT", "enable": "1", **facts}


def test_a_node_alone_lets_in_the_desk_and_its_guests() -> None:
    assert rules(A) == [
        accepted(source="192.0.2.7", proto="tcp", dport="22,8006"),
        accepted(source="2001:db8::/64", proto="tcp", dport="22,8006"),
        accepted(macro="Ping"),
        accepted(proto="udp", dport="67", iface="vmbr0"),
        accepted(macro="DNS", iface="vmbr0"),
    ]


def test_other_nodes_are_let_in_by_every_address_but_one_that_is_ours_too() -> None:
    between = [rule for rule in rules(B, A) if "dport" not in rule and "macro" not in rule]

    assert between == [accepted(source="10.99.0.1"), accepted(source="2001:db8:1::1")]


def test_only_a_firewall_that_is_off_is_narrowed() -> None:
    *_, last = firewall_steps.steps([A], DESK, (), narrows=True)
    while_on = firewall_steps.steps([A], DESK, (), narrows=False)

    assert last == LocalNetworkStep("10.99.0.1/32")
    assert all(isinstance(one, RuleStep) for one in while_on)


def test_each_rule_has_a_comment_of_its_own_that_a_shell_looks_for() -> None:
    wanted = [*firewall_steps.steps([A, B], DESK, (), narrows=False)]
    lines = [line for line in commands.lines(wanted) if not line.startswith("#")]
    comments = {(one.node, one.rule.comment) for one in wanted if isinstance(one, RuleStep)}

    assert len(comments) == len(wanted) == len({*lines})
    for line in lines:
        looked_for = line.partition("grep -qF '")[2].partition("'")[0]
        assert line.endswith(f"--comment '{looked_for}'")
