"""The catalogue: what is read, what is refused with its place, what the bounds keep out."""

from fractions import Fraction
from importlib import resources

import pytest

from pve402.domain import catalogue, errors, lease

SHIPPED = (resources.files("pve402.domain") / "default_catalogue.toml").read_text()
GOOD = SHIPPED.partition("# The same under")[0].rstrip()


def test_the_shipped_catalogue_sells_the_standard_container() -> None:
    sku_catalogue = catalogue.parse(SHIPPED)

    sku = sku_catalogue.sku("standard-lxc")
    assert sku_catalogue.management_fee_usd == Fraction("0.001")
    assert sku.runtime_minutes.least == 1
    assert sku.templates == {}


def test_the_lowest_price_is_that_of_the_smallest_size_for_the_shortest_time() -> None:
    sku_catalogue = catalogue.parse(SHIPPED)

    assert (
        0 < sku_catalogue.lowest_price_usd() == sku_catalogue.sku("standard-lxc").lowest_price_usd()
    )
    assert 0 < sku_catalogue.lowest_minute_usd() < sku_catalogue.lowest_price_usd()


PUBLIC = """
[network.public]
bridge = "vmbr1"
ipv4 = { subnet = "203.0.113.8/29", ranges = ["203.0.113.10-203.0.113.14"] }
ipv6 = { subnet = "2001:db8::/64", ranges = ["2001:db8::10-2001:db8::1f"] }
"""


def with_addresses(mark: str = "") -> catalogue.Catalogue:
    """The shipped catalogue, whose containers have two addresses each if the mark is set."""
    rate = 'address_usd_minute = "0.0001"\nbase_usd = "0.002"'
    return catalogue.parse(GOOD.replace('base_usd = "0.002"', rate) + PUBLIC + mark)


def test_the_addresses_that_a_network_gives_are_part_of_the_price() -> None:
    plain, sku = (
        with_addresses().sku("standard-lxc"),
        with_addresses("default = true").sku("standard-lxc"),
    )

    assert (plain.address_count, sku.address_count) == (0, 2)
    assert plain.price_usd(plain.smallest, 60) == catalogue.parse(GOOD).lowest_price_usd() + 59 * (
        plain.price_usd(plain.smallest, 1, with_base=False)
    )
    more = sku.price_usd(sku.smallest, 60) - plain.price_usd(plain.smallest, 60)
    assert more == 60 * 2 * Fraction("0.0001")


def test_an_unknown_sku_is_told_with_those_there_are() -> None:
    with pytest.raises(errors.UnknownSku, match="standard-lxc"):
        catalogue.parse(SHIPPED).sku("no-such-sku")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("[fees]", "[fees", "TOML"),
        ("[sku.standard-lxc]", "[other.standard-lxc]", "other"),
        ('base_usd = "0.002"', "base_usd = 0.002", "base_usd"),
        ('base_usd = "0.002"', 'base_usd = "-1"', "base_usd"),
        ('base_usd = "0.002"', 'surprise = "1"', "surprise"),
        ("cores = { min = 1, max = 8 }", "cores = { min = 0, max = 8 }", "cores"),
        ("cores = { min = 1, max = 8 }", "cores = { min = 9, max = 8 }", "cores"),
        ("cores = { min = 1, max = 8 }", "cores = 8", "cores"),
        ("cores = { min = 1, max = 8 }", "cores = { min = true, max = 8 }", "cores"),
        ("memory_mb = { min = 128,", "memory_mb = { min = 8,", "memory_mb"),
        ("max = 43200 }", "max = 99999999 }", "runtime_minutes"),
    ],
)
def test_a_wrong_catalogue_is_refused_with_the_place(old: str, new: str, place: str) -> None:
    assert old in GOOD

    with pytest.raises(catalogue.CatalogueError, match=place):
        catalogue.parse(GOOD.replace(old, new))


def test_a_catalogue_that_sells_nothing_is_refused() -> None:
    with pytest.raises(catalogue.CatalogueError, match="sku"):
        catalogue.parse("")


@pytest.mark.parametrize(
    ("changes", "minutes", "name"),
    [
        ({"cores": 0}, 60, "cores"),
        ({"cores": -100_000}, 60, "cores"),
        ({"memory_mb": 10**12}, 60, "memoryMB"),
        ({"disk_gb": 0}, 60, "diskGB"),
        ({}, 0, "runtimeMinutes"),
        ({}, -150, "runtimeMinutes"),
        ({}, 10**9, "runtimeMinutes"),
    ],
)
def test_every_number_has_bounds(changes: dict[str, int], minutes: int, name: str) -> None:
    size = lease.Size(**{"cores": 1, "memory_mb": 512, "disk_gb": 8, **changes})

    with pytest.raises(errors.OutOfBounds, match=name):
        catalogue.parse(SHIPPED).sku("standard-lxc").check(size, minutes)


def test_templates_are_named_or_the_operators() -> None:
    named = GOOD + '\ntemplates = { debian = "local:vztmpl/debian.tar.zst" }\n'
    sku, plain = (
        catalogue.parse(named).sku("standard-lxc"),
        catalogue.parse(GOOD).sku("standard-lxc"),
    )

    assert sku.template_volume("debian", "default") == "local:vztmpl/debian.tar.zst"
    assert sku.template_volume(None, "default") == "local:vztmpl/debian.tar.zst"
    assert plain.template_volume(None, "default") == "default"
    with pytest.raises(errors.UnknownTemplate):
        plain.template_volume("debian", "default")


@pytest.mark.parametrize(
    ("volume", "name"),
    [
        ("local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst", "debian-12-standard"),
        ("nfs:vztmpl/alpine-3.22-default_20250617_amd64.tar.xz", "alpine-3.22-default"),
        ("local:vztmpl/ubuntu.tar.gz", "ubuntu"),
        ("local:vztmpl/my-own.tar.zst", "my-own"),
        ("local:vztmpl/_odd.tar.zst", "default"),
        ("store:debian_1", "debian"),
    ],
)
def test_a_sku_without_templates_names_the_usual_one(volume: str, name: str):
    sku_catalogue = catalogue.parse(SHIPPED).with_template(volume)

    for sku in sku_catalogue.skus.values():
        assert dict(sku.templates) == {name: volume}
        assert sku.template_volume(name, "") == sku.template_volume(None, "") == volume


def test_a_sku_with_templates_keeps_them():
    sku = "[sku.x]\n" + SHIPPED.split("[sku.standard-lxc]\n")[1].split("# Without templates")[0]
    sku_catalogue = catalogue.parse(sku + 'templates = { own = "local:vztmpl/own.tar.zst" }')

    assert sku_catalogue.with_template("local:vztmpl/usual.tar.zst") == sku_catalogue


def test_a_sku_may_name_storages_and_a_storage_a_factor():
    text = SHIPPED + 'storages = ["fast", "slow"]\n[storage.fast]\ndisk_overcommit = 2\n'
    sold = catalogue.parse(text).with_storage("usual")

    assert sold.sku("basic-lxc").storages == ("fast", "slow")
    assert sold.sku("standard-lxc").storages == ("usual",)
    assert dict(sold.storages) == {"usual": None, "fast": 2.0, "slow": None}


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ('storages = "fast"', "storages"),
        ("storages = [1]", "storages"),
        ('storages = ["a", "a"]', "storages"),
        (f"storages = {[str(n) for n in range(17)]}", "storages"),
        ("[storage]\nfast = 2", "storage.fast"),
        ("[storage.fast]\ndisk_overcommit = 0", "storage.fast.disk_overcommit"),
        ("[storage.fast]\ndisk_overcommit = 101", "storage.fast.disk_overcommit"),
        ("[storage.fast]\ndisk_overcommit = true", "storage.fast.disk_overcommit"),
        ("[storage.fast]\ndisk_overcommit = nan", "storage.fast.disk_overcommit"),
        ('[storage.fast]\ndisk_overcommit = "2"', "storage.fast.disk_overcommit"),
        ("[storage.fast]\nsize = 2", "storage.fast"),
    ],
)
def test_a_bad_storage_is_named(line: str, place: str):
    with pytest.raises(catalogue.CatalogueError, match=place):
        catalogue.parse(f"{SHIPPED}{line}\n")


@pytest.mark.parametrize(
    "line",
    [
        *("swap = -1", "swap = 9", 'swap = "1"', "swap = true", "swap = nan"),
        *("cpu_limit = 0", "cpu_limit = 1.5", "cpu_limit = false"),
        *("cpu_units = 0", "cpu_units = 10001", "cpu_units = 1.5", "cpu_units = true"),
    ],
)
def test_shares_of_a_sku_have_bounds(line: str):
    with pytest.raises(catalogue.CatalogueError, match=line.partition(" ")[0]):
        catalogue.parse(f"{SHIPPED}{line}\n")
