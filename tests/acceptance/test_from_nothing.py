"""An empty Proxmox VE, `setup`, `doctor --deep`, `serve`, and a container that was paid for."""

import ipaddress
import stat
from pathlib import Path

import pytest
from devnet.tests.integration.wires.conftest import packets
from tests.support import first_lease
from tests.support.processes import DevnetProcess

__all__ = ["packets"]

pytestmark = pytest.mark.namespaces

STOPPED = (
    "to the nodes and their API: stopped, and arrived before: ping 10.99.0.1",
    "to a private address: stopped, and arrived before: ping 10.77.0.11",
    "to port 25: stopped, and arrived before: tcp 203.0.113.9 port 25",
    "from a forged source: stopped, and arrived before: ping 10.77.0.1 as 10.77.0.12",
    "to the other guest: stopped, and arrived before: ping 10.77.0.11",
    "from the other guest: stopped, and arrived before: ping 10.77.0.10",
)


def test_seven_commands_lead_from_an_empty_node_to_a_paid_lease(
    packets: None, tmp_path: Path, devnet: DevnetProcess
) -> None:
    before = devnet.usdc(devnet.settings["PAY_TO"])

    with first_lease.empty_proxmox(tmp_path, "0") as host:
        way = first_lease.go(tmp_path, devnet, host, first_lease.HASTY)
        there = first_lease.guests(tmp_path, host)

    assert (len(way.typed), way.answers) == (7, 7)
    said = way.said[first_lease.DEEP]
    for one in (*(f"no packet {line}" for line in STOPPED), "everything removed: "):
        assert f"\nok   {one}" in said
    assert "\nnote no packet to the router, but for names and ping: without rules" in said
    assert there == {int(way.lease["ctid"])}
    assert way.lease["status"] == "active"
    assert devnet.usdc(devnet.settings["PAY_TO"]) - before == int(way.lease["amount"]) > 0
    (held,) = way.lease["addresses"]
    assert ipaddress.ip_address(held["address"]) in ipaddress.ip_network("10.77.0.0/24")
    secret = first_lease.settings_of(tmp_path)["PVE_TOKEN_SECRET"]
    assert secret
    assert secret not in way.said["setup"]
    assert first_lease.PASSWORD not in way.said["setup"]
    written = [tmp_path / name for name in ("pve402.env", "catalogue.toml")]
    assert {stat.S_IMODE(file.stat().st_mode) for file in written} == {0o600}
