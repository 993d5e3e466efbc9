"""Whether a node's firewall lets somebody reach its API."""

import pytest

from pve402_devnet.pve.firewall import admission, files

LET_IN: files.Entry = {"type": "in", "action": "ACCEPT", "enable": 1, "proto": "tcp"}
DESK: files.Entry = {**LET_IN, "source": "192.0.2.7", "dport": "22,8000:8010"}


def admitted(
    source: str,
    *rules: files.Entry,
    cluster: dict[str, files.Value] | None = None,
    node: dict[str, files.Value] | None = None,
    local: str = "",
) -> bool:
    """Judge a caller of the API of a node at 10.99.0.1."""
    aliases: dict[str, files.Entry] = {"local_network": {"cidr": local}} if local else {}
    return admission.admits(
        files.FirewallFile(options={"enable": 1, **(cluster or {})}, aliases=aliases),
        files.FirewallFile(options=node or {}, rules=[*rules]),
        interface="vmbr0",
        address="10.99.0.1",
        source=source,
        port=8006,
    )


@pytest.mark.parametrize(
    ("rules", "admits"),
    [
        ((), False),
        ((DESK,), True),
        (({**DESK, "enable": 0},), False),
        (({**DESK, "source": "192.0.2.8"},), False),
        (({**DESK, "dport": "22"},), False),
        (({**DESK, "iface": "vmbr7"},), False),
        (({**DESK, "proto": "udp"},), False),
        (({**LET_IN, "source": "192.0.2.0/24"},), True),
        (({"type": "in", "action": "ACCEPT", "enable": 1, "macro": "PMG"},), True),
        (({"type": "in", "action": "ACCEPT", "enable": 1, "macro": "Ping"},), False),
        (({**DESK, "action": "DROP"}, DESK), False),
        (({**DESK, "type": "out"},), False),
    ],
)
def test_the_first_rule_that_matches_decides(rules: tuple[files.Entry, ...], admits: bool) -> None:
    assert admitted("192.0.2.7", *rules) is admits


def test_the_nodes_own_network_gets_in_until_it_is_narrowed() -> None:
    assert admitted("10.99.0.50")
    assert not admitted("10.99.0.50", local="10.99.0.1")


def test_everybody_gets_in_where_nothing_filters() -> None:
    assert admitted("192.0.2.7", cluster={"enable": 0})
    assert admitted("192.0.2.7", node={"enable": 0})
    assert admitted("192.0.2.7", cluster={"policy_in": "ACCEPT"})
