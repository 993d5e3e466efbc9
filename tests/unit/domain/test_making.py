"""Two guests are made of the same if what is on sale says the same about them."""

from dataclasses import replace
from decimal import Decimal
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from tests.support import fake_leases

from pve402.domain import catalogue, making, networks, price

SOLD = fake_leases.sku_catalogue()
SKU = SOLD.sku("standard-lxc")
POOL = networks.AddressPool(
    subnet=ip_network("10.7.0.0/24"), gateway=ip_address("10.7.0.1"), numbers=(1, 2)
)
NETWORK = networks.NetworkProfile(name="lan", bridge="vmbr0", ipv4=POOL)


@pytest.mark.parametrize(
    "change",
    [
        {"bridge": "vmbr1"},
        {"name": "other"},
        {"vlan_tag": 5},
        {"mtu": 1400},
        {"rate_megabytes": Decimal(5)},
        {"nameservers": ("9.9.9.9",)},
        {"search_domain": "example.org"},
        {"ipv6": networks.Method.AUTO},
        {"firewall": False},
        {"isolation": networks.Isolation.TENANT},
        {"egress": networks.Egress.NONE},
        {"ipv4": networks.Method.DHCP},
        {"ipv4": replace(POOL, gateway=None)},
        {"ipv4": replace(POOL, subnet=ip_network("10.7.0.0/16"))},
    ],
)
def test_another_network_is_another_making(change: dict[str, Any]) -> None:
    assert making.digest(SKU, NETWORK) != making.digest(SKU, replace(NETWORK, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"nesting": False},
        {"swap": Decimal(1)},
        {"cpu_limit": Decimal("0.5")},
        {"cpu_units": 100},
    ],
)
def test_another_share_is_another_making(change: dict[str, Any]) -> None:
    assert making.digest(SKU, NETWORK) != making.digest(replace(SKU, **change), NETWORK)


def test_prices_bounds_and_more_addresses_change_nothing() -> None:
    rates = replace(SKU.rates, base_usd=price.parse_usd("9"))
    other = replace(SKU, rates=rates, cores=catalogue.Bounds(least=1, most=2), storages=("a",))
    more = replace(NETWORK, ipv4=replace(POOL, numbers=(1, 2, 3)))

    assert making.digest(SKU, NETWORK) == making.digest(other, more)


def test_a_sku_that_is_gone_says_nothing_about_places() -> None:
    sold = SOLD.with_network(replace(fake_leases.NETWORK, mtu=1400)).with_storage("disks")

    known = making.of_names(sold, "standard-lxc", "default")
    gone = making.of_names(sold, "gone", "default")

    assert known is not None
    assert known.storages == ("disks",)
    assert gone is not None
    assert (gone.storages, gone.nodes) == ((), frozenset())
    assert making.of_names(sold, "standard-lxc", "gone") is None
