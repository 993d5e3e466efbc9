"""Every row of the table in docs/how-to/troubleshoot.md is an installation that is broken so."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import re
import socket
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console
from tests.support import (
    broken_payments,  # noqa: F401 -- its rows
    certificates,
    stand_ins,
)
from tests.support.broken import BROKEN, GOOD, World, broken, setting
from tests.support.project import ROOT

from pve402.ops import doctor
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.options import (
    AccessOptions,
    SimulatorOptions,
    StorageOptions,
    TokenOptions,
)
from pve402_devnet.pve.simulator import SimulatedProxmox

PAGE = ROOT / "docs" / "how-to" / "troubleshoot.md"
SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()


setting("the host name of Proxmox VE does not exist", pve_host="https://pve.invalid:8006")
setting("nothing listens on the port", pve_host="https://127.0.0.1:9")
setting("a wrong token secret", pve_token_secret="00000000-0000-0000-0000-000000000000")
setting("a token that does not exist", pve_token_id="root@pam!other")
setting("a node that does not exist", pve_node="elsewhere")
setting("a storage that does not exist", pve_storage="missing")
setting("a missing template", pve_os_template="local:vztmpl/missing.tar.gz")
setting("a missing bridge", pve_bridge="vmbr9")
setting("a missing resource pool", pve_pool="nowhere")
setting(
    "a template on a storage that does not exist",
    pve_os_template="missing:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst",
)


setting("a network that isolates nobody")  # as the variables alone make it


@broken("the datacenter's firewall is off")
async def _unfiltered(world: World) -> AsyncIterator[None]:
    catalogue = world.folder / "catalogue.toml"
    pool = 'ipv4 = { subnet = "10.7.0.0/24", ranges = ["10.7.0.9"] }'
    table = '[network.tenants]\ndefault = true\nbridge = "vmbr0"\nisolation = "tenant"'
    catalogue.write_text(f"{SHIPPED}\n{table}\n{pool}\n")
    world.changes["pve402_catalogue"] = catalogue
    yield


@broken("a mistyped variable")
async def _mistyped(world: World) -> AsyncIterator[None]:
    world.env_file = world.folder / "service.env"
    world.env_file.write_text("PVE_STORGE=local\n")
    yield


@broken("the host does not answer")
async def _silent(world: World) -> AsyncIterator[None]:
    with socket.socket() as listener:  # its queue is full: nobody is let in
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(address)
        world.changes["pve_host"] = f"https://127.0.0.1:{address[1]}"
        yield
        for other in others:
            other.close()


@broken("the port speaks plain HTTP")
async def _plain(world: World) -> AsyncIterator[None]:
    world.changes["pve_host"] = world.proxmox.base_url.replace("http://", "https://")
    yield


@broken("something else answers there")
async def _another_server(world: World) -> AsyncIterator[None]:
    async def welcome(_: web.Request) -> web.Response:
        return web.Response(text="<html>Welcome</html>", content_type="text/html")

    async with stand_ins.answering(welcome) as world.changes["pve_host"]:
        yield


@broken("the daemons behind the port are down")
async def _daemons_down(world: World) -> AsyncIterator[None]:
    async def down(_: web.Request) -> web.Response:
        return web.Response(status=595, reason="Connection refused")

    async with stand_ins.answering(down) as world.changes["pve_host"]:
        yield


@broken("a proxy that lets nobody in")
async def _forbidding(world: World) -> AsyncIterator[None]:
    async def forbid(_: web.Request) -> web.Response:
        return web.Response(status=403, text="<html>Forbidden</html>", content_type="text/html")

    async with stand_ins.answering(forbid) as world.changes["pve_host"]:
        yield


WITH_TLS = dataclasses.replace(GOOD, tls=True)


@broken("a self-signed certificate", WITH_TLS)
async def _self_signed(_: World) -> AsyncIterator[None]:
    yield


@broken("a CA file of another cluster", WITH_TLS)
async def _other_ca(world: World) -> AsyncIterator[None]:
    world.changes["pve_ca_file"] = certificates.make(world.folder).certificate
    yield


@broken("a certificate that was renewed", WITH_TLS)
async def _renewed(world: World) -> AsyncIterator[None]:
    world.changes["pve_fingerprint"] = certificates.make(world.folder).fingerprint_sha256
    yield


TOKEN_SECRET = "11111111-2222-3333-4444-555555555555"
NARROW = dataclasses.replace(
    GOOD,
    access=AccessOptions(
        passwords=(("leases@pve", "irrelevant"),),
        tokens=(
            TokenOptions(
                user="leases@pve", name="service", privilege_separated=False, secret=TOKEN_SECRET
            ),
        ),
    ),
)


def _narrow_token(world: World, *roles: tuple[str, str, frozenset[str]]) -> None:
    access = world.proxmox.world.access
    for path, role, privileges in roles:
        access.roles[role] = privileges
        access.grant(path, "leases@pve", role)
    world.changes |= {"pve_token_id": "leases@pve!service", "pve_token_secret": TOKEN_SECRET}


GUESTS = frozenset(
    {"VM.Allocate", "VM.Audit", "VM.Console", "VM.PowerMgmt", "VM.Config.CPU", "VM.Config.Disk"}
    | {"VM.Config.Memory", "VM.Config.Network", "VM.Config.Options"}
)
STORAGE, BRIDGE = frozenset({"Datastore.AllocateSpace"}), frozenset({"SDN.Use"})


@broken("a missing privilege", NARROW)
async def _lacking(world: World) -> AsyncIterator[None]:
    _narrow_token(
        world,
        ("/vms", "Guests", GUESTS - {"VM.Console"}),
        ("/storage/local", "Storage", STORAGE),
        ("/sdn/zones/localnetwork/vmbr0", "Bridge", BRIDGE),
        ("/nodes/pve", "Node", frozenset({"Sys.Audit"})),
    )
    yield


@broken("no `Sys.Audit` on the nodes", NARROW)
async def _no_figures(world: World) -> AsyncIterator[None]:
    _narrow_token(
        world,
        ("/vms", "Guests", GUESTS),
        ("/storage/local", "Storage", STORAGE),
        ("/sdn/zones/localnetwork/vmbr0", "Bridge", BRIDGE),
    )
    yield


@broken("a sku that names an unknown node")
async def _sku(world: World) -> AsyncIterator[None]:
    shipped = resources.files("pve402.domain").joinpath("default_catalogue.toml").read_text()
    file = world.folder / "catalogue.toml"
    file.write_text(shipped + 'nodes = ["gone"]\n')
    world.changes["pve402_catalogue"] = file
    yield


def _with_storage(**changes: Any) -> SimulatorOptions:
    extra = StorageOptions(**{"name": "disks", **changes})
    return dataclasses.replace(GOOD, storages=(StorageOptions(), extra))


@broken("a storage without containers", _with_storage(content=("iso", "vztmpl")))
async def _no_rootdir(world: World) -> AsyncIterator[None]:
    world.changes["pve_storage"] = "disks"
    yield


@broken("a storage that is nearly full", _with_storage(total_bytes=2**36, used_bytes=2**36 - 2**30))
async def _full(world: World) -> AsyncIterator[None]:
    world.changes["pve_storage"] = "disks"
    yield


def rows() -> dict[str, tuple[str, str, str]]:
    """The table of the page: what is wrong, what is said of it, which setting it names, a mend."""
    cells = re.findall(
        r"^\| (?!what is|---)(.+?) \| `(.+?)` \| (.+?) \| (.+) \|$",
        PAGE.read_text(),
        re.MULTILINE,
    )
    return {wrong: (said, variable.strip("`"), mend) for wrong, said, variable, mend in cells}


def test_every_row_of_the_page_is_tried() -> None:
    assert len(rows()) >= 20
    assert set(rows()) == set(BROKEN)


@pytest.mark.parametrize("row", sorted(BROKEN))
async def test_the_doctor_names_cause_setting_and_mend(
    row: str,
    tmp_path: Path,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options, break_it = BROKEN[row]
    screen = Console(file=io.StringIO(), width=80)
    async with SimulatedProxmox(options) as proxmox:
        world = World(tmp_path, proxmox, chain, facilitator, monkeypatch)
        async with break_it(world):
            parts = world.parts()
            code = await doctor.examine(parts, screen, world.env_file)
            await parts.close()
            await asyncio.sleep(0)

    said, variable, mend = rows()[row]
    text = screen.file.getvalue()  # type: ignore[attr-defined]  # it is a StringIO
    about = [line for line in text.splitlines() if said in line]
    assert len(about) == 1, text
    if variable not in {"none", "the variable itself"}:
        assert variable in about[0]
    assert all(command in about[0] for command in re.findall(r"`(.+?)`", mend))
    assert about[0].startswith("FAIL") == (code == 1)
    assert sum(line.startswith("FAIL") for line in text.splitlines()) == code
