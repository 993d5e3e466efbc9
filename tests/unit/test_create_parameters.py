"""What no guest could be created with is refused at the start, by the setting's name."""

from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_bootstrap_warnings import GOOD

from pve402 import bootstrap, config
from pve402.domain import catalogue

FIXED = {"pve_ip": "10.0.0.50/24"}


@pytest.mark.parametrize(
    ("change", "variable"),
    [
        ({"pve_gateway": "10.0.0.1"}, "PVE_GATEWAY"),
        ({"pve_ip": "manual", "pve_gateway": "10.0.0.1"}, "PVE_GATEWAY"),
        ({**FIXED, "pve_gateway": "fd00::1"}, "PVE_GATEWAY"),
        ({"pve_ip": "fd00::5/64", "pve_gateway": "10.0.0.1"}, "PVE_GATEWAY"),
        ({**FIXED, "pve_gateway": "10.0.0.50"}, "PVE_GATEWAY"),
        ({**FIXED, "pve_gateway": "0.0.0.0"}, "PVE_GATEWAY"),
        ({**FIXED, "pve_gateway": "224.0.0.1"}, "PVE_GATEWAY"),
        ({**FIXED, "pve_gateway": "10.0.1.1"}, "PVE_GATEWAY"),
        ({**FIXED, "pve_gateway": "10.0.0.255"}, "PVE_GATEWAY"),
        ({**FIXED, "pve_gateway": "10.0.0.0"}, "PVE_GATEWAY"),
        ({"pve_ip": "fd00::5/64", "pve_gateway": "fd01::1"}, "PVE_GATEWAY"),
        ({"pve_ip": "fd00::5/64", "pve_gateway": "fe80::1%eth0"}, "PVE_GATEWAY"),
        ({"pve_ip": "10.0.0.5/7"}, "PVE_IP"),
        ({"pve_ip": "10.0.0.5/0"}, "PVE_IP"),
        ({"pve_ip": "fd00::5/7"}, "PVE_IP"),
        ({"pve_ip": "fe80::5%eth0/64"}, "PVE_IP"),
        ({"pve_ip": "10.0.0.0/24"}, "PVE_IP"),
        ({"pve_ip": "10.0.0.255/24"}, "PVE_IP"),
        ({"pve_ip": "127.0.0.1/8"}, "PVE_IP"),
        ({"pve_ip": "fd00::/64"}, "PVE_IP"),
        ({"pve_storage": "local-"}, "PVE_STORAGE"),
        ({"pve_storage": "local."}, "PVE_STORAGE"),
        ({"pve_storage": "l"}, "PVE_STORAGE"),
        ({"pve_rate_mbps": float("inf")}, "PVE_RATE_MBPS"),
        ({"pve_nameserver": "0.0.0.0"}, "PVE_NAMESERVER"),
        ({"pve_nameserver": "::"}, "PVE_NAMESERVER"),
        ({"pve_nameserver": "224.0.0.251"}, "PVE_NAMESERVER"),
        ({"pve_nameserver": "ff02::fb"}, "PVE_NAMESERVER"),
        ({"pve_nameserver": "fd00::1%eth0"}, "PVE_NAMESERVER"),
        ({"pve_os_template": "local:vztmpl/debian-12.iso"}, "PVE_OS_TEMPLATE"),
        ({"pve_os_template": "local:vztmpl/debian-12.qcow2"}, "PVE_OS_TEMPLATE"),
        ({"pve_os_template": "local:vztmpl/debian-12"}, "PVE_OS_TEMPLATE"),
        ({"pve_os_template": "local:vztmpl/debian-12.tgz"}, "PVE_OS_TEMPLATE"),
        ({"pve_os_template": "local-:vztmpl/debian-12.tar.zst"}, "PVE_OS_TEMPLATE"),
        ({"pve_os_template": "local:iso/debian-12.iso"}, "PVE_OS_TEMPLATE"),
        ({"pve_os_template": "local:backup/vzdump-lxc-100.tar.zst"}, "PVE_OS_TEMPLATE"),
        ({"pve_os_template": "local:debian-12.tar.zst"}, "PVE_OS_TEMPLATE"),
        ({"pve_os_template": "local:vztmpl/../x.tar.zst"}, "PVE_OS_TEMPLATE"),
        ({"pve_pool": "a//b"}, "PVE_POOL"),
        ({"pve_pool": "a/b/c/d"}, "PVE_POOL"),
        ({"pve_pool": "tenants/"}, "PVE_POOL"),
    ],
)
def test_it_is_said_at_the_start(change: dict[str, Any], variable: str) -> None:
    with pytest.raises(config.SettingsError) as told:
        bootstrap.build(config.Settings(_env_file=None, **{**GOOD, **change}))

    assert variable in str(told.value)


@pytest.mark.parametrize(
    ("change", "card"),
    [
        ({}, "ip=dhcp"),
        ({"pve_ip": "manual"}, "ip=manual"),
        ({**FIXED, "pve_gateway": "10.0.0.1"}, "ip=10.0.0.50/24,gw=10.0.0.1"),
        ({"pve_ip": "fd00::5/64", "pve_gateway": "fd00::1"}, "ip6=fd00::5/64,gw6=fd00::1"),
        ({"pve_ip": "10.0.0.0/31"}, "ip=10.0.0.0/31"),
        ({"pve_ip": " 10.0.0.5/24 "}, "ip=10.0.0.5/24"),
        ({"pve_ip": "10.0.0.5/32", "pve_gateway": "10.0.9.1"}, "ip=10.0.0.5/32,gw=10.0.9.1"),
        ({"pve_ip": "fd00::5/64", "pve_gateway": "fe80::1"}, "ip6=fd00::5/64,gw6=fe80::1"),
        ({"pve_ip": "fd00::5/64", "pve_gateway": "fd00::"}, "ip6=fd00::5/64,gw6=fd00::"),
        ({"pve_nameserver": "fe80::1%eth0"}, "ip=dhcp"),
        ({"pve_os_template": "local:vztmpl/oci_python-3.13.tar"}, "ip=dhcp"),
    ],
)
async def test_what_can_be_created_with_is_taken(change: dict[str, Any], card: str) -> None:
    parts = bootstrap.build(config.Settings(_env_file=None, **{**GOOD, **change}))
    spec = parts.machines._template
    await parts.close()

    assert card in str(spec.parameters(10_000)["net0"])


@pytest.mark.parametrize(
    "volume",
    [
        "local:iso/debian-12.iso",
        "local:backup/x.tar.zst",
        "local",
        "vztmpl/debian.tar.zst",
        "local:vztmpl/",
    ],
)
def test_a_skus_template_that_is_none_is_said_at_the_start(tmp_path: Path, volume: str) -> None:
    file = tmp_path / "catalogue.toml"
    shipped = Path("src/pve402/domain/default_catalogue.toml").read_text()
    file.write_text(shipped + f'templates = {{ odd = "{volume}" }}\n')

    with pytest.raises(catalogue.CatalogueError) as told:
        _ = bootstrap.build(
            config.Settings(_env_file=None, **GOOD, pve402_catalogue=file)
        ).leases.catalogue

    assert "templates.odd" in str(told.value)


@pytest.mark.parametrize("value", ['"yes"', "1", "0", "[]", '"false"'])
def test_nesting_is_a_switch(value: str) -> None:
    shipped = Path("src/pve402/domain/default_catalogue.toml").read_text()

    with pytest.raises(catalogue.CatalogueError, match="nesting"):
        catalogue.parse(shipped + f"nesting = {value}\n")
