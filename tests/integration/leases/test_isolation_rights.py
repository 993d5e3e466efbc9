"""Isolation with exactly the documented rights: they are enough, and each of them is needed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from tests.integration.leases.test_isolation import NETWORK, SETTLED, SHIPPED, card_of
from tests.integration.leases.test_learned_addresses import ON_VNET, vnet_of
from tests.support.installation import running

from pve402.domain import errors, networks
from pve402.proxmox import errors as pve
from pve402.proxmox import ipam
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.options import (
    AccessOptions,
    NodeOptions,
    Progress,
    SimulatorOptions,
    TokenOptions,
)
from pve402_devnet.pve.simulator import SimulatedProxmox

SECRET = "11111111-2222-3333-4444-555555555555"
USER = "pve402@pve"
CHOSEN = SimulatorOptions(
    nodes=(NodeOptions(name="pve"),),
    progress=Progress.IMMEDIATELY,
    publish_interval_seconds=0.05,
    auth_failure_seconds=0.0,
    access=AccessOptions(
        passwords=((USER, "irrelevant"),),
        tokens=(TokenOptions(user=USER, name="service", privilege_separated=False, secret=SECRET),),
    ),
)
VNET = "/sdn/zones/rent/rent0"
PAGE = Path("docs/how-to/proxmox-rights.md").read_text()
ROLES = {
    name: frozenset(held.split())
    for name, held in re.findall(r'^pveum role add (\w+) --privs "(.+)"$', PAGE, re.MULTILINE)
}
GRANTS = [
    (path.replace("local-lvm", "local"), role, not tail)
    for path, role, tail in re.findall(
        rf"^pveum acl modify (\S+) --users {USER} --roles (\w+)( --propagate 0)?$",
        PAGE,
        re.MULTILINE,
    )
]


@pytest.fixture
async def proxmox() -> AsyncIterator[SimulatedProxmox]:
    """A cluster whose firewall is on, with the user of the page, who has no rights yet."""
    async with SimulatedProxmox(CHOSEN) as made:
        made.world.firewalls.cluster.options["enable"] = 1
        yield made


@pytest.fixture
def changes(proxmox: SimulatedProxmox, tmp_path: Path) -> dict[str, Any]:
    """Settings of an operator who followed the page."""
    catalogue = tmp_path / "catalogue.toml"
    catalogue.write_text(SHIPPED + NETWORK + 'isolation = "tenant"\n')
    token = {"pve_token_id": f"{USER}!service", "pve_token_secret": SECRET}
    return {"pve402_catalogue": catalogue, **token}


def grant(proxmox: SimulatedProxmox, *, without: tuple[str, str] | None = None) -> None:
    """Run the page's lines, with one privilege left out on one path."""
    access = proxmox.world.access
    for path, role, propagate in GRANTS:
        held = ROLES[role]
        if without is not None and without[0] == path:
            held = held - {without[1]}
        access.roles[f"{role}-{path}"] = held
        access.grant(path, USER, f"{role}-{path}", propagate=propagate)


async def test_the_documented_rights_are_enough(
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    changes: dict[str, Any],
    tmp_path: Path,
) -> None:
    grant(proxmox)

    async with running(f"sqlite:///{tmp_path}/db", proxmox, chain, facilitator, **changes) as made:
        row = (await made.lease()).lease
        made.parts.db.shift_seconds = SETTLED
        await made.settled_down()
        (ready,) = await made.leases_now()
        card = card_of(made, row)

    assert ("/", "R402Node", False) in GRANTS
    assert ready.link is networks.Link.READY
    assert "link_down" not in card


@pytest.mark.parametrize(
    "lacking", [("/", "Sys.Audit"), ("/nodes/pve", "Sys.Audit"), ("/vms", "VM.Config.Network")]
)
async def test_each_of_them_is_needed(
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    changes: dict[str, Any],
    tmp_path: Path,
    lacking: tuple[str, str],
) -> None:
    grant(proxmox, without=lacking)

    async with running(f"sqlite:///{tmp_path}/db", proxmox, chain, facilitator, **changes) as made:
        with pytest.raises((errors.IsolationUnavailable, errors.ProvisioningFailed)):
            await made.lease()

        assert made.earned == 0


@pytest.mark.parametrize("lacking", ["", "SDN.Audit", "SDN.Use"])
async def test_addresses_of_the_sdn_need_one_right_more(
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    changes: dict[str, Any],
    tmp_path: Path,
    lacking: str,
) -> None:
    vnet_of(proxmox)
    changes["pve402_catalogue"].write_text(f"{SHIPPED}\n{ON_VNET}")
    grant(proxmox)
    proxmox.world.access.roles["vnet"] = ROLES["R402Vnet"] - {lacking}
    proxmox.world.access.grant(VNET, USER, "vnet")

    async with running(f"sqlite:///{tmp_path}/db", proxmox, chain, facilitator, **changes) as made:
        sdn = ipam.Ipam(made.parts.proxmox)
        if lacking == "SDN.Audit":
            with pytest.raises(pve.PermissionDenied):
                await sdn.count_free("rent0", ip_network("10.88.0.0/24"))
        if not lacking:
            assert (await made.lease()).lease.addresses == {"ipv4": "10.88.0.50"}
            assert await sdn.count_free("rent0", ip_network("10.88.0.0/24")) == 1
            return
        with pytest.raises(errors.ProvisioningFailed):
            await made.lease()

        assert made.earned == 0
