"""The firewall's calls: where Proxmox surprises, and what it refuses."""

from typing import Any

import pytest
from devnet.tests.integration.pve.conftest import Client

from pve402_devnet.pve import AccessOptions, AclOptions, TokenOptions

GUEST = "/nodes/pve/lxc/100/firewall"
CLUSTER = "/cluster/firewall"
EMPTY = "da39a3ee5e6b4b0d3255bfef95601890afd80709"


async def rules(client: Client, path: str = f"{GUEST}/rules") -> list[dict[str, Any]]:
    answer = await client.call("GET", path)
    assert answer.status == 200
    assert isinstance(answer.data, list)
    return answer.data


async def add(client: Client, path: str = f"{GUEST}/rules", **fields: Any) -> None:
    wanted = {"type": "out", "action": "DROP", "enable": 1, **fields}
    answer = await client.call("POST", path, **wanted)
    assert answer.status == 200, answer


async def three_rules(client: Client) -> None:
    for name in ("third", "second", "first"):
        await add(client, comment=name)


def comments(listed: list[dict[str, Any]]) -> list[str]:
    return [rule["comment"] for rule in listed]


async def test_a_new_rule_goes_to_the_top_whatever_its_position_says(client: Client) -> None:
    await add(client, comment="one")
    await add(client, comment="two", pos=1)

    listed = await rules(client)

    assert comments(listed) == ["two", "one"]
    assert [rule["pos"] for rule in listed] == [0, 1]


async def test_a_rule_is_off_unless_told_otherwise(client: Client) -> None:
    await client.call("POST", f"{GUEST}/rules", type="in", action="ACCEPT")

    assert (await rules(client))[0]["enable"] == 0
    await client.call("PUT", f"{GUEST}/rules/0", enable=7)
    assert (await rules(client))[0]["enable"] == 1
    one = (await client.call("GET", f"{GUEST}/rules/0")).data
    assert (one["action"], one["pos"]) == ("ACCEPT", "0")


@pytest.mark.parametrize(
    ("position", "target", "order"),
    [
        (0, 1, ["first", "second", "third"]),
        (0, 2, ["second", "first", "third"]),
        (0, 3, ["second", "third", "first"]),
        (0, 9, ["second", "third", "first"]),
        (2, 0, ["third", "first", "second"]),
        (1, 1, ["first", "second", "third"]),
    ],
)
async def test_a_rule_moves_before_the_one_at_the_target(
    client: Client, position: int, target: int, order: list[str]
) -> None:
    await three_rules(client)

    await client.call("PUT", f"{GUEST}/rules/{position}", moveto=target)

    assert comments(await rules(client)) == order


async def test_a_move_drops_the_other_fields(client: Client) -> None:
    await three_rules(client)

    answer = await client.call("PUT", f"{GUEST}/rules/2", moveto=0, action="ACCEPT", enable=0)

    assert answer.status == 200
    assert [(rule["action"], rule["enable"]) for rule in await rules(client)] == [("DROP", 1)] * 3


async def test_a_stale_digest_is_refused(client: Client) -> None:
    await add(client, comment="one")
    digest = (await rules(client))[0]["digest"]
    await add(client, comment="two")

    for method in ("PUT", "DELETE"):
        answer = await client.call(method, f"{GUEST}/rules/0", digest=digest)
        assert (answer.status, answer.reason.split(" - ")[0]) == (
            500,
            "detected modified configuration",
        )
    fresh = (await rules(client))[0]["digest"]
    assert (await client.call("DELETE", f"{GUEST}/rules/0", digest=fresh)).status == 200
    assert comments(await rules(client)) == ["one"]


async def test_a_position_without_a_rule_is_refused(client: Client) -> None:
    for method in ("GET", "PUT", "DELETE"):
        answer = await client.call(method, f"{GUEST}/rules/9")
        assert (answer.status, answer.reason) == (500, "no rule at position 9")


async def test_a_field_is_deleted_by_name_or_by_a_dash(client: Client) -> None:
    await add(client, comment="x", proto="tcp", dport="25")

    await client.call("PUT", f"{GUEST}/rules/0", delete="dport", comment="-")

    assert (await rules(client))[0].keys() == {
        *("type", "action", "enable", "proto", "pos", "digest")
    }
    answer = await client.call("PUT", f"{GUEST}/rules/0", delete="action")
    assert answer.body["errors"] == {"delete": "unable to delete required property 'action'"}


REFUSED = [
    ({"action": "ALLOW"}, "action", "unknown action 'ALLOW'"),
    ({"macro": "Nosuch"}, "macro", "unknown macro 'Nosuch'"),
    ({"dest": "+nosuch"}, "dest", "no such ipset 'nosuch'"),
    ({"source": "nosuch"}, "source", "no such alias 'nosuch'"),
    ({"dport": "25"}, "proto", "missing property - 'dport' requires this property"),
    ({"sport": "25"}, "proto", "missing property - 'sport' requires this property"),
    ({"dport": "1", "proto": "esp"}, "dport", "protocol 'esp' does not support ports"),
    ({"dport": "70000", "proto": "tcp"}, "dport", "invalid format - invalid port '70000'\n"),
    (
        {"dport": "90:80", "proto": "tcp"},
        "dport",
        "invalid format - backwards range '90:80' not allowed, did you mean '80:90'?\n",
    ),
    (
        {"dport": ",".join(str(n) for n in range(1, 17)), "proto": "tcp"},
        "dport",
        "invalid format - too many entries in port list (> 15 numbers)\n",
    ),
    (
        {"source": "10.0.0.1", "dest": "fc00::1"},
        "dest",
        "detected mixed ipv4/ipv6 addresses in rule",
    ),
    ({"proto": "icmp", "dest": "::1"}, "dest", "detected mixed ipv4/ipv6 addresses in rule"),
    (
        {"dest": "10.0.0.1,::1"},
        "dest",
        "invalid format - detected mixed ipv4/ipv6 addresses in address list '10.0.0.1,::1'\n",
    ),
    ({"dest": "10.0.0.1,"}, "dest", "invalid format - extraneous commas in list\n"),
    (
        {"dest": "10.0.0.1-10.0.0.9,10.0.1.1"},
        "dest",
        "invalid format - you can't use a range in a list\n",
    ),
    ({"proto": "nosuch"}, "proto", "invalid format - unknown protocol 'nosuch'\n"),
    ({"iface": "eth0"}, "iface", r"value does not match the regex pattern 'net\d+'"),
    ({"type": "forward"}, "type", "invalid rule type 'forward' for rule_env 'ct'"),
    (
        {"proto": "icmp", "icmp-type": "nosuch"},
        "icmp-type",
        "invalid icmp-type 'nosuch' for proto 'icmp'",
    ),
]


@pytest.mark.parametrize(("fields", "name", "text"), REFUSED)
async def test_a_wrong_rule_is_refused(
    client: Client, fields: dict[str, str], name: str, text: str
) -> None:
    answer = await client.call(
        "POST", f"{GUEST}/rules", **{"type": "out", "action": "DROP"} | fields
    )

    assert answer.status == 400
    assert answer.body["errors"] == {name: text}
    assert await rules(client) == []


async def test_a_change_that_is_refused_leaves_the_rule(client: Client) -> None:
    await add(client, proto="tcp", dport="25")

    answer = await client.call("PUT", f"{GUEST}/rules/0", dest="+nosuch", action="ACCEPT")

    assert answer.status == 400
    rule = (await rules(client))[0]
    assert rule["action"] == "DROP"
    assert "dest" not in rule


async def test_an_unknown_group_is_accepted(client: Client) -> None:
    await add(client, type="group", action="nosuch", iface="net0")

    assert (await rules(client))[0]["action"] == "nosuch"


async def test_a_macro_is_stored_under_its_own_name(client: Client) -> None:
    await add(client, macro="dns", dest="10.0.0.1")

    rule = (await rules(client))[0]
    assert (rule["macro"], rule["ipversion"]) == ("DNS", 4)


async def test_a_set_keeps_the_network_of_an_address_with_a_mask(client: Client) -> None:
    await client.call("POST", f"{GUEST}/ipset", name="ipfilter-net0")
    entries = f"{GUEST}/ipset/ipfilter-net0"

    await client.call("POST", entries, cidr="10.77.0.21/24")
    await client.call("POST", entries, cidr="10.78.0.1/32", nomatch=1, comment="but")

    listed = (await client.call("GET", entries)).data
    assert [entry["cidr"] for entry in listed] == ["10.77.0.0/24", "10.78.0.1"]
    assert (listed[1]["nomatch"], listed[1]["comment"]) == (1, "but")
    again = await client.call("POST", entries, cidr="10.77.0.99/24")
    assert again.body["errors"] == {"cidr": "address '10.77.0.0/24' already exists"}
    everything = await client.call("POST", entries, cidr="0.0.0.0/0")
    assert everything.status == 400


async def test_a_set_is_made_once_emptied_and_removed(client: Client) -> None:
    await client.call("POST", f"{CLUSTER}/ipset", name="private", comment="not ours")
    again = await client.call("POST", f"{CLUSTER}/ipset", name="private")
    await client.call("POST", f"{CLUSTER}/ipset/private", cidr="10.0.0.0/8")

    full = await client.call("DELETE", f"{CLUSTER}/ipset/private")
    missing = await client.call("DELETE", f"{CLUSTER}/ipset/private/192.168.0.0/16")
    gone = await client.call("DELETE", f"{CLUSTER}/ipset/private/10.0.0.0/8")
    empty = await client.call("DELETE", f"{CLUSTER}/ipset/private")

    assert again.body["errors"] == {"name": "IPSet 'private' already exists"}
    assert (full.status, full.reason) == (500, "IPSet 'private' is not empty")
    assert [answer.status for answer in (missing, gone, empty)] == [200] * 3
    answer = await client.call("GET", f"{CLUSTER}/ipset/private")
    assert (answer.status, answer.reason) == (500, "no such IPSet 'private'")


async def test_an_alias_has_one_name_whatever_its_case(client: Client) -> None:
    await client.call("POST", f"{GUEST}/aliases", name="Gateway", cidr="10.77.0.1/32")

    again = await client.call("POST", f"{GUEST}/aliases", name="gateway", cidr="10.77.0.2")
    await add(client, dest="GATEWAY")
    await client.call("PUT", f"{GUEST}/aliases/gateway", cidr="fc00::/7", rename="ula")

    mixed = await client.call(
        "POST", f"{GUEST}/rules", type="in", action="DROP", source="10.0.0.1", dest="ula"
    )
    assert (mixed.status, mixed.reason) == (500, "detected mixed ipv4/ipv6 addresses in rule")
    assert again.body["errors"] == {"name": "alias 'gateway' already exists"}
    assert (await rules(client))[0]["ipversion"] == 4
    (alias,) = (await client.call("GET", f"{GUEST}/aliases")).data
    assert (alias["name"], alias["cidr"], alias["ipversion"]) == ("ula", "fc00::/7", 6)
    assert (await client.call("GET", f"{GUEST}/aliases/nosuch")).status == 400
    assert (await client.call("DELETE", f"{GUEST}/aliases/nosuch")).status == 200


async def test_references_name_what_rules_may_use(client: Client) -> None:
    await client.call("POST", f"{CLUSTER}/ipset", name="private")
    await client.call("POST", f"{GUEST}/aliases", name="gateway", cidr="10.0.0.1", comment="out")

    listed = (await client.call("GET", f"{GUEST}/refs")).data
    aliases = (await client.call("GET", f"{GUEST}/refs", type="alias")).data

    assert listed == [
        {"type": "ipset", "name": "private", "ref": "+private", "scope": "dc"},
        {
            "type": "alias",
            "name": "gateway",
            "ref": "gateway",
            "scope": "guest",
            "comment": "out",
        },
    ]
    assert aliases == listed[1:]


async def test_a_renamed_group_is_renamed_where_it_is_used(client: Client) -> None:
    await client.call("POST", f"{CLUSTER}/groups", group="tenant")
    await add(client, f"{CLUSTER}/groups/tenant", macro="SMTP")
    await add(client, type="group", action="tenant", iface="net0")

    await client.call("POST", f"{CLUSTER}/groups", group="guests", rename="tenant", comment="new")

    assert (await rules(client))[0]["action"] == "guests"
    assert (await rules(client, f"{CLUSTER}/groups/guests"))[0]["macro"] == "SMTP"
    answer = await client.call("GET", f"{CLUSTER}/groups/tenant")
    assert (answer.status, answer.reason) == (500, "no such security group 'tenant'")


async def test_a_group_takes_no_interface(client: Client) -> None:
    await client.call("POST", f"{CLUSTER}/groups", group="tenant")

    path = f"{CLUSTER}/groups/tenant"
    answer = await client.call("POST", path, type="out", action="DROP", iface="net0")

    assert answer.body["errors"] == {"type": "parameter -i not allowed for this rule type"}


async def test_the_file_of_a_number_waits_for_its_guest(client: Client) -> None:
    before = await client.call("GET", f"{GUEST}/options")
    await client.call("PUT", f"{GUEST}/options", enable=1, policy_in="DROP")
    await client.create(100)

    options = (await client.call("GET", f"{GUEST}/options")).data

    assert before.data == {"digest": EMPTY}
    assert (options["enable"], options["policy_in"]) == (1, "DROP")


async def test_a_clone_carries_the_file_and_a_destroyed_guest_loses_it(client: Client) -> None:
    await client.create(100)
    await add(client, comment="mine")
    await client.run("POST", "/nodes/pve/lxc/100/clone", newid=101, full=1)
    clone = "/nodes/pve/lxc/101/firewall/rules"
    await client.run("DELETE", "/nodes/pve/lxc/100")

    assert await rules(client) == []
    assert comments(await rules(client, clone)) == ["mine"]
    await client.call("DELETE", f"{clone}/0")
    assert await rules(client, clone) == []


RIGHTS = [
    ("GET", f"{GUEST}/options", "/vms/100, VM.Audit"),
    ("GET", f"{GUEST}/rules", "/vms/100, VM.Audit"),
    ("GET", f"{GUEST}/refs", "/vms/100, VM.Audit"),
    ("GET", f"{GUEST}/log", "/vms/100, VM.Console"),
    ("PUT", f"{GUEST}/options", "/vms/100, VM.Config.Network"),
    ("POST", f"{GUEST}/rules", "/vms/100, VM.Config.Network"),
    ("DELETE", f"{GUEST}/rules/0", "/vms/100, VM.Config.Network"),
    ("POST", f"{GUEST}/ipset", "/vms/100, VM.Config.Network"),
    ("POST", f"{GUEST}/aliases", "/vms/100, VM.Config.Network"),
    ("GET", f"{CLUSTER}/options", "/, Sys.Audit"),
    ("GET", f"{CLUSTER}/groups/tenant", "/, Sys.Audit"),
    ("PUT", f"{CLUSTER}/options", "/, Sys.Modify"),
    ("POST", f"{CLUSTER}/groups", "/, Sys.Modify"),
    ("POST", f"{CLUSTER}/ipset", "/, Sys.Modify"),
    ("POST", f"{CLUSTER}/aliases", "/, Sys.Modify"),
    ("POST", f"{CLUSTER}/rules", "/, Sys.Modify"),
    ("GET", "/nodes/pve/firewall/options", "/nodes/pve, Sys.Audit"),
    ("PUT", "/nodes/pve/firewall/options", "/nodes/pve, Sys.Modify"),
    ("POST", "/nodes/pve/firewall/rules", "/nodes/pve, Sys.Modify"),
    ("GET", "/nodes/pve/firewall/log", "/nodes/pve, Sys.Syslog"),
]


async def test_each_call_asks_its_right(make_client: Any) -> None:
    token = TokenOptions(user="svc@pve", name="none")
    role = AclOptions(path="/storage", who="svc@pve", role="PVEDatastoreUser")
    client: Client = await make_client(access=AccessOptions(tokens=(token,), acl=(role,)))

    for method, path, missing in RIGHTS:
        answer = await client.call(method, path)
        assert (answer.status, answer.reason) == (403, f"Permission check failed ({missing})")
    assert (await client.call("GET", f"{CLUSTER}/groups")).status == 200
