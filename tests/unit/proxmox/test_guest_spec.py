"""What is asked of Proxmox for a new guest, and what is not even asked."""

import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import recordings

from pve402.proxmox import errors, parameters
from pve402.proxmox.guest_spec import GuestSpec, NetworkSpec, is_hostname

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHtlc3Q tenant@laptop"
NETWORK = NetworkSpec(bridge="vmbr0")
SPEC = GuestSpec(
    hostname="web-1",
    template="local:vztmpl/debian-12-standard_12.2-1_amd64.tar.zst",
    storage="local-lvm",
    disk_gb=8,
    memory_mb=512,
    cores=1,
    network=NETWORK,
)


def sent(spec: GuestSpec, vmid: int = 10000) -> dict[str, str]:
    return parameters.encode(spec.parameters(vmid))


def test_the_smallest_guest() -> None:
    assert sent(SPEC) == {
        "vmid": "10000",
        "ostemplate": "local:vztmpl/debian-12-standard_12.2-1_amd64.tar.zst",
        "rootfs": "local-lvm:8",
        "unprivileged": "1",
        "hostname": "web-1",
        "cores": "1",
        "memory": "512",
        "swap": "0",
        "net0": "name=eth0,bridge=vmbr0,ip=dhcp,firewall=1,type=veth",
        "cmode": "shell",
        "onboot": "0",
        "features": "nesting=1",
    }


def test_the_fullest_guest() -> None:
    network = NetworkSpec(
        bridge="vmbr1.5",
        ipv4="10.0.0.5/24",
        gateway4="10.0.0.1",
        vlan_tag=42,
        firewall=False,
        rate_megabytes=Decimal("12.50"),
    )
    spec = replace(
        SPEC,
        network=network,
        cpu_limit=Decimal("0.5"),
        cpu_units=200,
        swap_mb=64,
        password="hunter22",
        ssh_public_keys=(KEY, KEY),
        tags=("pve402-a", "lease-x"),
        description="pve402:v1:x",
        nameserver="10.0.0.1 fd00::1",
        search_domain="example.org",
        nesting=True,
        pool="rented",
    )

    form = sent(spec)

    assert form["net0"] == (
        "name=eth0,bridge=vmbr1.5,ip=10.0.0.5/24,gw=10.0.0.1,tag=42,firewall=0,rate=12.5,type=veth"
    )
    assert form["ssh-public-keys"] == f"{KEY}\n{KEY}"
    assert form["tags"] == "pve402-a;lease-x"
    assert (form["features"], form["cpulimit"], form["pool"]) == ("nesting=1", "0.5", "rented")
    assert (form["cpuunits"], form["swap"]) == ("200", "64")
    assert "start" not in form


@pytest.mark.parametrize(
    ("change", "parameter"),
    [
        ({"hostname": "a" * 64}, "hostname"),
        ({"hostname": "under_score"}, "hostname"),
        ({"hostname": "-a"}, "hostname"),
        ({"hostname": ""}, "hostname"),
        ({"hostname": "a..b"}, "hostname"),
        ({"hostname": "a\n"}, "hostname"),
        ({"disk_gb": 0}, "rootfs"),
        ({"disk_gb": 0.5}, "rootfs"),
        ({"disk_gb": 1.5}, "rootfs"),
        ({"disk_gb": -8}, "rootfs"),
        ({"storage": "local:0,size=9"}, "rootfs"),
        ({"memory_mb": 15}, "memory"),
        ({"memory_mb": True}, "memory"),
        ({"swap_mb": -1}, "swap"),
        ({"cores": 0}, "cores"),
        ({"cores": 8193}, "cores"),
        ({"cpu_limit": Decimal(0)}, "cpulimit"),
        ({"cpu_units": 0}, "cpuunits"),
        ({"cpu_units": 10_001}, "cpuunits"),
        ({"template": "/etc/passwd"}, "ostemplate"),
        ({"template": "local:iso/x.iso"}, "ostemplate"),
        ({"template": "local:vztmpl/../x"}, "ostemplate"),
        ({"tags": ("a;b",)}, "tags"),
        ({"tags": ("Upper",)}, "tags"),
        ({"description": "x" * 8193}, "description"),
        ({"password": "four"}, "password"),
        ({"password": "new\nline"}, "password"),
        ({"ssh_public_keys": ("not a key",)}, "ssh-public-keys"),
        ({"ssh_public_keys": (KEY + "\nssh-rsa AAAA",)}, "ssh-public-keys"),
        ({"ssh_public_keys": ('command="x" ' + KEY,)}, "ssh-public-keys"),
        ({"ssh_public_keys": (KEY,) * 21}, "ssh-public-keys"),
        ({"nameserver": "one.one.one.one"}, "nameserver"),
        ({"nameserver": ""}, "nameserver"),
        ({"search_domain": "a b"}, "searchdomain"),
        ({"network": replace(NETWORK, bridge="vmbr0,ip=10.0.0.9/24")}, "net0"),
        ({"network": replace(NETWORK, bridge="a" * 16)}, "net0"),
        ({"network": replace(NETWORK, ipv4="10.0.0.1")}, "net0"),
        ({"network": replace(NETWORK, ipv4="10.0.0.1/33")}, "net0"),
        ({"network": replace(NETWORK, ipv4="auto")}, "net0"),
        ({"network": replace(NETWORK, gateway4="10.0.0.1")}, "net0"),
        ({"network": replace(NETWORK, ipv4="10.0.0.2/24", gateway4="gw")}, "net0"),
        ({"network": replace(NETWORK, vlan_tag=4095)}, "net0"),
        ({"network": replace(NETWORK, rate_megabytes=Decimal(0))}, "net0"),
    ],
)
def test_what_proxmox_would_take_or_refuse_is_refused_before_sending(
    change: dict[str, Any], parameter: str
) -> None:
    with pytest.raises(errors.InvalidParameters) as caught:
        replace(SPEC, **change).parameters(10000)
    assert list(caught.value.errors) == [parameter]
    assert caught.value.status is None


@pytest.mark.parametrize("vmid", [99, 0, -1, 1_000_000_000])
def test_a_vmid_is_in_the_range_of_proxmox(vmid: int) -> None:
    with pytest.raises(errors.InvalidParameters) as caught:
        SPEC.parameters(vmid)
    assert list(caught.value.errors) == ["vmid"]


def test_every_problem_is_named_at_once() -> None:
    with pytest.raises(errors.InvalidParameters) as caught:
        replace(SPEC, cores=0, memory_mb=0, hostname="_").parameters(10000)
    assert set(caught.value.errors) == {"cores", "memory", "hostname"}


def test_the_password_is_in_no_repr_and_no_error() -> None:
    spec = replace(SPEC, password="hunter22\n")

    with pytest.raises(errors.InvalidParameters) as caught:
        spec.parameters(10000)
    assert "hunter22" not in repr(spec) + repr(caught.value) + str(caught.value)


@given(st.text(max_size=80))
def test_a_host_name_holds_nothing_that_could_be_read_otherwise(name: str) -> None:
    plain = re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", name) is not None

    assert plain or not is_hostname(name)


def test_host_names_that_proxmox_refused_are_refused_here_too() -> None:
    creations = [r for r in recordings.load() if r.method == "POST" and r.path.endswith("/lxc")]
    refused = [
        str(recording.params["hostname"])
        for recording in creations
        if recording.status == 400 and "DNS name" in str(recording.body.get("errors"))
    ]

    assert len(refused) >= 4
    assert not any(map(is_hostname, refused))
