"""Addresses that rules let in, and a subnet for tenants that nobody has."""

from ipaddress import IPv4Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402.setup import addresses
from pve402.setup.operator import Cancelled

SUBNETS = st.builds(
    lambda number, prefix: IPv4Network((number, prefix), strict=False),
    st.integers(10 << 24, (11 << 24) - 1),
    st.integers(9, 30),
)


def test_what_an_operator_writes_becomes_networks_each_once() -> None:
    found = addresses.parse(["192.0.2.7, 10.1.2.3/8 2001:DB8::1", "192.0.2.7"])

    assert [*map(addresses.written, found)] == ["192.0.2.7", "10.0.0.0/8", "2001:db8::1"]
    assert [*addresses.lists(found)] == ["10.0.0.0/8,192.0.2.7", "2001:db8::1"]


@pytest.mark.parametrize(
    "text", ["0.0.0.0/0", "::/0", "10.0.0.0/7", "my-laptop", "10.0.0.1-9", "192.0.2.7/33", "+dc/x"]
)
def test_what_no_rule_should_have_is_refused(text: str) -> None:
    with pytest.raises(Cancelled, match=r"must be an address|half the world"):
        addresses.parse([text])


def test_rules_have_room_for_all_addresses_that_are_taken() -> None:
    long = [f"2001:db8:{n:x}:ffff:ffff::/80" for n in range(60000, 60050)]

    listed = [*addresses.lists(addresses.parse(long))]

    assert max(map(len, listed)) <= 512
    assert ",".join(listed).split(",") == long
    with pytest.raises(Cancelled, match="too many"):
        addresses.parse([*long, "192.0.2.7"])


@given(st.lists(SUBNETS, max_size=20))
def test_the_chosen_subnet_overlaps_nothing(taken: list[IPv4Network]) -> None:
    chosen = addresses.free_subnet(taken)

    assert chosen.is_private
    assert chosen.prefixlen == 24
    assert not any(chosen.overlaps(one) for one in taken)


def test_where_everything_private_is_taken_none_is_chosen() -> None:
    taken = [ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]

    assert addresses.overlapped(addresses.free_subnet(taken[:1]), taken[1:]) == taken[1]
    with pytest.raises(Cancelled, match="--subnet"):
        addresses.free_subnet(taken)


@pytest.mark.parametrize(
    ("subnet", "gateway", "numbers"),
    [
        ("10.77.0.0/24", "10.77.0.1", "10.77.0.10-10.77.0.254"),
        ("10.77.0.0/16", "10.77.0.1", "10.77.0.10-10.77.255.254"),
        ("10.77.0.8/29", "10.77.0.9", "10.77.0.10-10.77.0.14"),
    ],
)
def test_a_subnet_has_a_router_and_addresses_behind_it(
    subnet: str, gateway: str, numbers: str
) -> None:
    assert addresses.gateway_and_range(addresses.subnet_of(subnet)) == (gateway, numbers)


@pytest.mark.parametrize("text", ["8.8.8.0/24", "10.0.0.0/8", "10.7.0.0/30", "fd00::/64", "x"])
def test_a_subnet_that_cannot_be_translated_is_refused(text: str) -> None:
    with pytest.raises(Cancelled, match="--subnet"):
        addresses.subnet_of(text)


def test_hosts_are_what_packets_between_machines_carry() -> None:
    found = addresses.of_hosts(
        ["nonsense", "10.99.0.1/24", "127.0.0.1/8", "fe80::1/64", "2001:db8::5/64"]
    )

    assert {*map(addresses.written, found)} == {"10.99.0.1", "2001:db8::5"}


def test_the_desk_is_known_by_its_ssh_session() -> None:
    assert addresses.of_ssh({"SSH_CONNECTION": "192.0.2.7 50000 10.99.0.1 22"}) == "192.0.2.7"
    assert addresses.of_ssh({}) is None
