"""Network profiles: what is read, what is refused with its place, which address comes next."""

from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402.domain import catalogue, networks

SHIPPED = (resources.files("pve402.domain") / "default_catalogue.toml").read_text()
OF_VARIABLES = networks.NetworkProfile(name="default", bridge="vmbr0")
POOL = """
[network.lan]
bridge = "vmbr1"
vlan = 20
mtu = 1450
rate_mbps = 12.5
nameservers = ["10.7.0.1", "fd00::53"]
search_domain = "guests.example.org"
ipv4 = { subnet = "10.7.0.0/24", ranges = ["10.7.0.0-10.7.0.4", "10.7.0.254/31"], gateway = \
"10.7.0.1", exclude = ["10.7.0.3"] }
ipv6 = { subnet = "fd00:7::/64", ranges = ["fd00:7::10-fd00:7::1f"], gateway = "fe80::1" }
"""
LINE = 'ipv4 = { subnet = "10.7.0.0/24", ranges = ["10.7.0.9"] }'


def parsed(text: str) -> catalogue.Catalogue:
    return catalogue.parse(SHIPPED + text)


def table(**values: str) -> str:
    chosen = {"bridge": '"vmbr1"', "ipv4": '"dhcp"', **values}
    return "\n[network.lan]\n" + "\n".join(f"{key} = {value}" for key, value in chosen.items())


def pool(**values: str) -> str:
    chosen = {"subnet": '"10.7.0.0/24"', "ranges": '["10.7.0.9-10.7.0.19"]', **values}
    inside = ", ".join(f"{key} = {value}" for key, value in chosen.items() if value)
    return table(ipv4=f"{{ {inside} }}")


def test_a_pool_leaves_out_what_no_guest_may_have() -> None:
    lan = parsed(POOL).networks["lan"]

    assert isinstance(lan.ipv4, networks.AddressPool)
    assert [str(one) for one in lan.ipv4.addresses()] == ["10.7.0.2", "10.7.0.4", "10.7.0.254"]
    assert lan.ipv4.on_card("10.7.0.2") == "10.7.0.2/24"
    assert [pool.version for pool in lan.pools] == [4, 6]


def test_a_pool_may_reach_a_million_addresses_of_ipv6_but_not_hold_them() -> None:
    with pytest.raises(catalogue.CatalogueError, match=r"ipv6\.ranges: must be at most 65536"):
        parsed(table(ipv6='{ subnet = "fd00::/64", ranges = ["fd00::/64"] }'))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (table(ipv4='"none"'), r"network\.lan: needs ipv4 or ipv6"),
        (table(ipv4='"auto"'), r"network\.lan\.ipv4"),
        (table(ipv6='"slaac"'), r"network\.lan\.ipv6"),
        (table(vnet='"guests"', zone='"lan"'), "either bridge, or vnet"),
        (table(zone='"lan"'), "vnet and zone belong together"),
        (table(bridge='"a bridge"'), r"network\.lan\.bridge"),
        ('\n[network.lan]\nvnet = "toolongname"\nzone = "z"\nipv4 = "dhcp"', "vnet"),
        (table(vlan="4095"), r"vlan: must be 1 to 4094"),
        (table(vlan="true"), "vlan"),
        (table(mtu="100"), "mtu"),
        (table(mtu="1000", ipv6='"auto"'), r"mtu: IPv6 needs at least 1280"),
        (table(rate_mbps="0"), "rate_mbps"),
        (table(rate_mbps='"10"'), "rate_mbps"),
        (table(nameservers='["dns.example"]'), "nameservers"),
        (table(nameservers='["1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4"]'), "nameservers"),
        (table(search_domain='"a b"'), "search_domain"),
        (table(surprise="1"), "surprise"),
        (table(default='"yes"'), r"network\.lan\.default"),
        ('\n[network.default]\nbridge = "vmbr0"\nipv4 = "dhcp"', "choose another"),
        ('\n[network.Lan]\nbridge = "vmbr0"\nipv4 = "dhcp"', "network.Lan: a name"),
        ("\n[network]\nlan = 1", r"network\.lan: must be a table"),
        (pool(subnet=""), r"ipv4\.subnet"),
        (pool(subnet='"10.7.0.1/24"'), "host bits"),
        (pool(subnet='"fd00::/64"'), "IPv4 network"),
        (pool(subnet='"224.0.0.0/24"'), "no container can have"),
        (pool(gateway='"10.8.0.1"'), r"gateway: 10\.8\.0\.1 is not inside 10\.7\.0\.0/24"),
        (pool(gateway='"10.7.0.255"'), "no address of a host"),
        (pool(gateway='"gw"'), "not an IP address"),
        (pool(gateway='"fe80::1%eth0"'), "not an IP address"),
        (pool(ranges='["10.7.0.9-10.7.1.9"]'), "not inside"),
        (pool(ranges='["10.7.0.9-10.7.0.8"]'), "ends before it begins"),
        (pool(ranges='["10.7.0.9-fd00::1"]'), "not inside"),
        (pool(ranges="[9]"), "must be text"),
        (pool(ranges='"10.7.0.9"'), "must be a list"),
        (pool(ranges="[]"), "no address is left"),
        (pool(ranges='["10.7.0.9"]', exclude='["10.7.0.0/28"]'), "no address is left"),
        (pool(ranges='["10.7.0.9"]', gateway='"10.7.0.9"'), "no address is left"),
        (pool(exclude='["10.9.0.0/28"]'), "not inside"),
        (pool(surprise="1"), r"ipv4: unknown key 'surprise'"),
        (f'\n[network.a]\nbridge = "x"\n{LINE}\n[network.b]\nbridge = "y"\n{LINE}', "pools of a"),
        (
            pool() + '\n[network.b]\nbridge = "y"\nipv4 = { subnet = "10.7.0.0/24", '
            'ranges = ["10.7.0.30"], gateway = "10.7.0.10" }',
            "10.7.0.10 is the gateway of b and in the pool of lan",
        ),
        (
            table(default="true") + table(default="true").replace("lan", "b"),
            "both marked as default",
        ),
    ],
)
def test_a_wrong_network_is_refused_with_the_place(text: str, place: str) -> None:
    with pytest.raises(catalogue.CatalogueError, match=place):
        parsed(text)


def test_a_sku_names_a_network_that_is_there() -> None:
    with pytest.raises(catalogue.CatalogueError, match=r"there is no \[network.lan\]"):
        parsed('network = "lan"\n')


def test_skus_get_their_own_network_or_the_default_one() -> None:
    named = parsed('network = "lan"\n' + POOL).with_network(OF_VARIABLES)
    marked = parsed(POOL + "default = true\n").with_network(OF_VARIABLES)

    assert named.network_of(named.sku("basic-lxc")).name == "lan"
    assert named.network_of(named.sku("standard-lxc")) == OF_VARIABLES
    assert marked.network_of(marked.sku("standard-lxc")).name == "lan"


def test_the_address_of_the_variables_is_in_no_other_pool() -> None:
    one = networks.AddressPool(
        subnet=networks.IPv4Network("10.7.0.0/24"), gateway=None, numbers=(0x0A070009,)
    )
    fixed = networks.NetworkProfile(name="default", bridge="vmbr0", ipv4=one)

    with pytest.raises(catalogue.CatalogueError, match=r"10\.7\.0\.9 is in the pools of"):
        parsed(f'network = "lan"\n[network.lan]\nbridge = "vmbr1"\n{LINE}').with_network(fixed)


@given(st.data())
def test_addresses_go_round_and_none_is_passed_over(data: Any) -> None:
    numbers = tuple(sorted(data.draw(st.sets(st.integers(1, 254), min_size=1, max_size=12))))
    found = networks.AddressPool(
        subnet=networks.IPv4Network("0.0.0.0/24"), gateway=None, numbers=numbers
    )
    everything = [str(one) for one in found.addresses()]
    after = data.draw(st.one_of(st.none(), st.sampled_from(everything)))

    taken: list[str] = []
    while (one := found.next_free(taken, after)) is not None:
        taken.append(after := str(one))

    assert sorted(taken) == sorted(everything)
    assert not found.has_free(taken)
