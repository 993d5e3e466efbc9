"""Nodes with one bridge are offered an SDN network for tenants that overlaps nothing of theirs."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.integration.setup.test_printed import asked
from tests.support.admin import administrator, killed_at
from tests.support.installation import simulated_proxmox
from tests.support.pasted import RootShell

from pve402.proxmox.administration import Administration
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.setup import catalogue_text, configuration, main, sdn_steps
from pve402_devnet.pve import sdn, simulator
from pve402_devnet.pve.options import NodeOptions

AGREED = ("Make these", "Change", "an SDN zone `tenants`")
"""All but the firewall, which test_firewall.py is about."""


def wish(folder: Path, proxmox: simulator.SimulatedProxmox, **changes: Any) -> configuration.Asked:
    """A set-up that leaves the network open."""
    return asked(folder, proxmox.base_url, **{"over_api": True, "nodes": (), "sdn": None} | changes)


def table(folder: Path) -> dict[str, Any]:
    """The networks of the catalogue that was written."""
    found: dict[str, Any] = tomllib.loads((folder / "catalogue.toml").read_text()).get(
        "network", {}
    )
    return found


def texts(folder: Path) -> dict[Path, str]:
    """All files that were written."""
    return {file: file.read_text() for file in folder.iterdir()}


def clear(folder: Path) -> None:
    """Lose all files."""
    for file in folder.iterdir():
        file.unlink()


def standing(proxmox: simulator.SimulatedProxmox) -> dict[str, sdn.Network]:
    """The vnets that the nodes have."""
    return {
        name: proxmox.world.networks.applied.networks[name]
        for name in proxmox.world.networks.bridges
    }


async def test_one_bridge_is_offered_a_network_of_its_own(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    operator = administrator(proxmox, yes=AGREED, answers={"Addresses": "10.99.0.50"})

    assert await main.execute(wish(tmp_path, proxmox), operator) == main.EXIT_NOT_DONE

    subnet = standing(proxmox)["tenants0"].subnets["tenants-10.77.0.0-24"]
    assert (subnet.gateway, subnet.snat) == ("10.77.0.1", True)
    written = table(tmp_path)["tenants"]
    assert written.pop("ipv4") == {
        "subnet": "10.77.0.0/24",
        "gateway": "10.77.0.1",
        "ranges": ["10.77.0.10-10.77.0.254"],
    }
    assert written == {
        "default": True,
        "vnet": "tenants0",
        "zone": "tenants",
        "isolation": "tenant",
        "nameservers": ["9.9.9.9", "149.112.112.112"],
    }
    assert proxmox.world.access.rules["/sdn/zones/tenants/tenants0"]["pve402@pve"]
    assert "/sdn/zones/localnetwork/vmbr0" not in proxmox.world.access.rules


async def test_who_says_no_gets_none(tmp_path: Path, proxmox: simulator.SimulatedProxmox) -> None:
    operator = administrator(proxmox, yes=("Make these",))

    assert await main.execute(wish(tmp_path, proxmox), operator) == 0

    assert (standing(proxmox), table(tmp_path)) == ({}, {})
    assert "keeps containers neither from each other" in operator.everything


@pytest.mark.parametrize("changes", [{"sdn": False}, {"arguments": ("PVE_VLAN=7",)}])
async def test_what_is_decided_is_not_offered(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, changes: dict[str, Any]
) -> None:
    made = wish(tmp_path, proxmox)
    more = (*made.arguments, *changes.get("arguments", ()))
    operator = administrator(proxmox)

    await main.execute(dataclasses.replace(made, **changes | {"arguments": more}), operator)

    assert not any("SDN zone" in question for question in operator.questions)
    assert standing(proxmox) == {}


async def test_two_bridges_are_offered_nothing_but_may_have_it(tmp_path: Path) -> None:
    async with simulated_proxmox() as proxmox:
        name, node = next(iter(proxmox.world.nodes.items()))
        proxmox.world.nodes[name] = dataclasses.replace(node, bridges=("vmbr0", "vmbr7"))
        operator = administrator(proxmox, yes=AGREED, answers={"Addresses": "10.99.0.50"})

        await main.execute(wish(tmp_path, proxmox), operator)
        assert not any("SDN zone" in question for question in operator.questions)

        clear(tmp_path)
        await main.execute(wish(tmp_path, proxmox, sdn=True), operator)
        assert [*standing(proxmox)] == ["tenants0"]


async def test_it_keeps_clear_of_what_the_nodes_have(tmp_path: Path) -> None:
    async with simulated_proxmox() as proxmox:
        _move(proxmox, "10.77.0.5")
        operator = administrator(proxmox, yes=AGREED, answers={"Addresses": "10.77.0.50"})

        await main.execute(wish(tmp_path, proxmox), operator)

        assert table(tmp_path)["tenants"]["ipv4"]["subnet"] == "10.78.0.0/24"


@pytest.mark.parametrize("subnet", ["10.99.0.0/24", "10.99.0.128/25", "10.96.0.0/13", "8.8.8.0/24"])
async def test_a_subnet_that_somebody_has_is_refused_before_any_change(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, subnet: str
) -> None:
    given = catalogue_text.Subnet(subnet=subnet, gateway="", ranges=(), nameservers=())
    operator = administrator(proxmox)

    status = await main.execute(wish(tmp_path, proxmox, sdn=True, subnet=given), operator)

    assert status == main.EXIT_NOT_DONE
    assert subnet in operator.told[-1]
    assert proxmox.world.networks.written.zones == {}
    assert "Make these" not in operator.everything
    assert tmp_path / "catalogue.toml" not in texts(tmp_path)


def _move(proxmox: simulator.SimulatedProxmox, address: str) -> None:
    name, node = next(iter(proxmox.world.nodes.items()))
    proxmox.world.nodes[name] = NodeOptions(name=name, address=address, bridges=node.bridges)


async def test_a_node_that_did_not_follow_is_told_and_mended_by_another_run(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdn_steps, "TAKES_OVER_SECONDS", 1)
    proxmox.world.networks.reload_fails = True
    operator = administrator(proxmox, yes=AGREED, answers={"Addresses": "10.99.0.50"})

    assert await main.execute(wish(tmp_path, proxmox), operator) == main.EXIT_FAILED
    assert "the zone tenants is not on pve (pending)" in operator.told[-1]

    proxmox.world.networks.reload_fails = False
    await main.execute(wish(tmp_path, proxmox), operator)
    assert [*standing(proxmox)] == ["tenants0"]


async def test_repeated_it_changes_nothing(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = administrator(proxmox, yes=AGREED, answers={"Addresses": "10.99.0.50"})
    await main.execute(wish(tmp_path, proxmox), operator)
    before = texts(tmp_path)
    monkeypatch.setattr(Administration, "make", None)

    for more in ({}, {"sdn": True}):
        assert await main.execute(wish(tmp_path, proxmox, **more), operator) == main.EXIT_NOT_DONE

    assert texts(tmp_path) == before


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(4))
async def test_killed_at_any_change_it_is_finished_by_the_next_run(
    tmp_path: Path,
    proxmox: simulator.SimulatedProxmox,
    number: int,
    after: bool,
) -> None:
    operator = administrator(proxmox, yes=AGREED, answers={"Addresses": "10.99.0.50"})
    with killed_at(number, after=after):
        await main.execute(wish(tmp_path, proxmox), operator)

    await main.execute(wish(tmp_path, proxmox), operator)

    assert [*standing(proxmox)["tenants0"].subnets] == ["tenants-10.77.0.0-24"]
    assert table(tmp_path)["tenants"]["ipv4"]["subnet"] == "10.77.0.0/24"


async def test_a_lost_catalogue_keeps_the_subnet_that_was_made(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    given = catalogue_text.Subnet(subnet="10.88.0.0/23", gateway="", ranges=(), nameservers=())
    operator = administrator(proxmox, yes=AGREED, answers={"Addresses": "10.99.0.50"})
    await main.execute(wish(tmp_path, proxmox, sdn=True, subnet=given), operator)
    before = table(tmp_path)
    clear(tmp_path)

    await main.execute(wish(tmp_path, proxmox), operator)

    assert table(tmp_path) == before


async def test_a_zone_of_somebody_else_stays(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    networks = proxmox.world.networks
    networks.written.zones["tenants"] = {"type": "vxlan", "peers": "10.99.0.1"}
    networks.written.zones["theirs"] = {"type": "simple"}
    operator = administrator(proxmox, yes=AGREED)

    assert await main.execute(wish(tmp_path, proxmox), operator) == main.EXIT_NOT_DONE

    assert "a zone tenants already, of type vxlan" in operator.told[-1]
    assert networks.applied.zones == {}
    assert "applied along with ours: zone theirs" in operator.everything


async def test_what_is_printed_makes_the_same(
    tmp_path: Path, proxmox: simulator.SimulatedProxmox
) -> None:
    made = wish(tmp_path, proxmox, over_api=False, nodes=("pve=10.99.0.1",), sdn=True)
    operator = administrator(proxmox, answers=None)

    assert await main.execute(made, operator) == 0

    options = ProxmoxOptions(
        host=proxmox.base_url, token_id=proxmox.token_id, token_secret=proxmox.token_secret
    )
    async with ProxmoxClient(options) as client:
        shell = RootShell(client)
        for _ in range(2):
            await shell.paste(line for line in operator.lines if "aplinfo" not in line)
    assert [*standing(proxmox)["tenants0"].subnets] == ["tenants-10.77.0.0-24"]
    assert any("ip -4 route show root 10.77.0.0/24" in line for line in operator.lines)
    assert "--from ADDRESS" in operator.everything
