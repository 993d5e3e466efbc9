"""What can never work is reported at the start, by kind; what may work is left alone."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.support.installation import TEMPLATE, running, simulated_proxmox

from pve402.proxmox import storage
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox

KINDS = ("node", "storage", "template", "bridge", "pool", "size")
SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"pve_node": "nowhere"}, "node"),
        ({"pve_node": "PVE"}, "node"),
        ({"pve_storage": "local-zfs"}, "storage"),
        ({"pve_storage": "Local"}, "storage"),
        ({"pve_os_template": "local:vztmpl/none.tar.zst"}, "template"),
        ({"pve_os_template": "nfs:vztmpl/debian.tar.zst"}, "template"),
        ({"pve_bridge": "vmbr7"}, "bridge"),
        ({"pve_bridge": "lan"}, "bridge"),
        ({"pve_pool": "nowhere"}, "pool"),
        ({"pve_pool": "tenants/web"}, "pool"),
    ],
)
async def test_what_no_node_has_makes_it_unready(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    change: dict[str, Any],
    kind: str,
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"

    with structlog.testing.capture_logs() as said:
        async with running(url, proxmox, chain, facilitator, **change) as made:
            checks = await made.parts.readiness()

    assert {name: checks[name] for name in KINDS} == {name: name != kind for name in KINDS}
    assert kind in {line["need"] for line in said if line["event"] == "node_lacks"}


@pytest.mark.parametrize(
    ("bounds", "is_ready"),
    [
        ("cores = { min = 100, max = 128 }", False),
        ("memory_mb = { min = 4000000, max = 4000000 }", False),
        ("cores = { min = 2, max = 128 }", True),
        ("memory_mb = { min = 128, max = 4000000 }", True),
    ],
)
async def test_a_sku_that_fits_no_node_is_said(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    bounds: str,
    is_ready: bool,
) -> None:
    name = bounds.partition(" ")[0]
    lines = [bounds if line.startswith(name) else line for line in SHIPPED.splitlines()]
    catalogue_file, small = tmp_path / "catalogue.toml", tmp_path / "small.toml"
    catalogue_file.write_text("\n".join(lines))
    as_ever = SHIPPED[SHIPPED.index("[sku.") :].replace("[sku.", "[sku.as-ever-")
    small.write_text(catalogue_file.read_text() + "\n" + as_ever)
    found = []

    for number, file in enumerate((catalogue_file, small)):
        url = f"sqlite:///{tmp_path}/db{number}.sqlite3"
        async with running(url, proxmox, chain, facilitator, pve402_catalogue=file) as made:
            ready = await made.parts.readiness()
            found.append((ready["size"], len(made.parts.nodes_check.lacks)))

    assert found == [(is_ready, 0 if is_ready else 2), (True, 0 if is_ready else 2)]


@pytest.mark.parametrize("nodes", [("one",), ("two",), ("one", "two")])
async def test_a_storage_that_is_not_active_is_not_there(
    tmp_path: Path,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    monkeypatch: pytest.MonkeyPatch,
    nodes: tuple[str, ...],
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"

    async with (
        simulated_proxmox("one", "two") as proxmox,
        running(url, proxmox, chain, facilitator) as made,
    ):
        honest = storage.Storages.status

        async def status(self: storage.Storages, node: str, name: str) -> storage.StorageStatus:
            found = await honest(self, node, name)
            return dataclasses.replace(found, active=node not in nodes)

        monkeypatch.setattr(storage.Storages, "status", status)
        await made.parts.nodes_check.look()
        checks, lacks = await made.parts.readiness(), made.parts.nodes_check.lacks

    assert {lack.node for lack in lacks} == set(nodes)
    assert checks["storage"] is (len(nodes) < 2)


async def test_a_good_installation_is_ready(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"

    async with running(url, proxmox, chain, facilitator) as made:
        checks = await made.parts.readiness()

    assert all(checks[name] for name in KINDS)
    assert made.parts.nodes_check.lacks == ()


@pytest.mark.parametrize("names", ['["one", "typo"]', '["typo", "one", "two"]', '["ONE", "two"]'])
async def test_a_node_that_a_sku_misspells_is_said_and_the_rest_is_sold(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator, names: str
) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(SHIPPED + f"nodes = {names}\n")
    url = f"sqlite:///{tmp_path}/db.sqlite3"

    async with (
        simulated_proxmox("one", "two") as proxmox,
        running(url, proxmox, chain, facilitator, pve402_catalogue=file) as made,
    ):
        checks = await made.parts.readiness()
        (lack,) = made.parts.nodes_check.lacks

    assert all(checks[name] for name in KINDS)
    assert lack.node in {"typo", "ONE"}


async def test_it_recovers_by_itself(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    (local,) = [one for one in proxmox.world.storages if one.name == "local"]
    sound = local.options
    local.options = dataclasses.replace(sound, content=("vztmpl",))

    async with running(url, proxmox, chain, facilitator) as made:
        before = await made.parts.readiness()
        local.options = sound
        await made.parts.nodes_check.look()
        after = await made.parts.readiness()

    assert (before["storage"], after["storage"]) == (False, True)


async def test_a_node_that_cannot_be_asked_does_not_keep_the_others_from_being_checked(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"

    async with (
        simulated_proxmox("one", "two") as proxmox,
        running(url, proxmox, chain, facilitator) as made,
    ):
        for one in proxmox.world.storages:
            one.options = dataclasses.replace(one.options, content=("vztmpl",))
        made.fail_call(r"GET /nodes/one/storage/")
        await made.parts.nodes_check.look()
        lacking = {lack.node for lack in made.parts.nodes_check.lacks}

    assert lacking == {"two"}


async def test_a_container_is_made_from_the_image_of_a_name(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    file = tmp_path / "catalogue.toml"
    image = f'[image.small]\ntemplate = "{TEMPLATE}"\nos = "Alpine 3.22"\n'
    file.write_text(f'{SHIPPED}\nimages = ["small"]\n{image}')
    url, usual = f"sqlite:///{tmp_path}/db.sqlite3", "local:vztmpl/usual.tar.zst"
    chosen = {"pve402_catalogue": file, "pve_os_template": usual}

    async with running(url, proxmox, chain, facilitator, **chosen) as made:
        await made.lease(sku="basic-lxc", template="small")
        (row,) = await made.leases_now()
        ((named, shown),) = made.parts.leases.images()

    assert (row.template, row.metadata["template"]) == (TEMPLATE, "small")
    assert named.os == "Alpine 3.22"
    assert shown is not None
    assert shown.size_bytes > 0
    assert shown.created_at is not None
