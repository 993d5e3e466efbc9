"""The rights a client needs to rent guests out: enough together, and each of them needed."""

import asyncio

import pytest
from devnet.tests.integration.pve.conftest import TEMPLATE, MakeClient
from devnet.tests.support import pve_rig

from pve402_devnet.pve import AccessOptions, AclOptions, TokenOptions

NEEDED = (*pve_rig.GUEST_PRIVILEGES, "Datastore.AllocateSpace", "SDN.Use")
GUEST = "/nodes/pve/lxc/100"
CALLS: tuple[tuple[str, str, dict[str, str | int]], ...] = (
    (
        "POST",
        "/nodes/pve/lxc",
        {
            "vmid": 100,
            "ostemplate": TEMPLATE,
            "rootfs": "local:1",
            "cores": 1,
            "memory": 128,
            "net0": "name=eth0,bridge=vmbr0,ip=dhcp",
            "tags": "rented",
            "cmode": "shell",
        },
    ),
    ("POST", f"{GUEST}/status/start", {}),
    ("GET", f"{GUEST}/status/current", {}),
    ("PUT", f"{GUEST}/config", {"description": "until tomorrow"}),
    ("POST", f"{GUEST}/termproxy", {}),
    ("POST", f"{GUEST}/status/stop", {}),
    ("DELETE", GUEST, {}),
)


async def refusals(make_client: MakeClient, privileges: tuple[str, ...]) -> list[str]:
    """Walk through the life of a guest and collect what was refused."""
    paths = {"Datastore.AllocateSpace": "/storage/local"}
    paths["SDN.Use"] = "/sdn/zones/localnetwork/vmbr0"
    acl = tuple(
        AclOptions(path=paths.get(privilege, "/vms"), who=who, role=privilege)
        for privilege in privileges
        for who in ("op@pve", "op@pve!t")
    )
    access = AccessOptions(
        roles=tuple((privilege, (privilege,)) for privilege in NEEDED),
        tokens=(TokenOptions(user="op@pve", name="t"),),
        acl=acl,
    )
    client = await make_client(access=access)
    refused = []
    for method, path, params in CALLS:
        answer = await client.call(method, path, **params)
        if answer.status == 403:
            refused.append(answer.reason)
        elif isinstance(answer.data, str):
            async with asyncio.timeout(5):
                await client.proxmox.world.tasks.require(answer.data).ended.wait()
    return refused


async def test_the_documented_rights_are_enough(make_client: MakeClient) -> None:
    assert await refusals(make_client, NEEDED) == []


@pytest.mark.parametrize("missing", NEEDED)
async def test_without_one_of_them_something_is_refused(
    make_client: MakeClient, missing: str
) -> None:
    held = tuple(privilege for privilege in NEEDED if privilege != missing)

    found = await refusals(make_client, held)

    assert found
