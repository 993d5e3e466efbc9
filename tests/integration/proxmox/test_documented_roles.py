"""The roles that the pages tell operators to make can be made on Proxmox VE, with their rights."""

import re
from collections.abc import AsyncIterator

import pytest
from tests.support import installation, project

from pve402.proxmox import errors
from pve402.proxmox.access import Access
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions

PAGES = sorted((project.ROOT / "docs").rglob("*.md"))
ROLES = sorted(
    {
        found
        for page in PAGES
        for found in re.findall(r'pveum role add (\S+) --privs "([^"]+)"', page.read_text())
    }
)
RESERVED = ["PVEGuests", "pve402", "Pve402Console", "pVeX", "PVE", "pve-402.guests"]
ALLOWED = ["R402X", "xpve", "402pve", "P-VE", "operators.pve"]


@pytest.fixture
async def proxmox() -> AsyncIterator[ProxmoxClient]:
    """A client of a fresh simulated Proxmox VE, with every right."""
    async with installation.simulated_proxmox() as simulated:
        options = ProxmoxOptions(
            host=simulated.base_url,
            token_id=simulated.token_id,
            token_secret=simulated.token_secret,
        )
        async with ProxmoxClient(options) as client:
            yield client


def test_the_pages_name_roles() -> None:
    assert len(ROLES) >= 6
    assert all(privileges.split() for _, privileges in ROLES)


@pytest.mark.parametrize(("name", "privileges"), ROLES, ids=[name for name, _ in ROLES])
async def test_a_documented_role_can_be_made(
    proxmox: ProxmoxClient, name: str, privileges: str
) -> None:
    await proxmox.call("POST", "/access/roles", {"roleid": name, "privs": privileges})

    held = await Access(proxmox).role_privileges(name)

    assert held == frozenset(privileges.split())


@pytest.mark.parametrize("name", RESERVED)
async def test_names_of_proxmox_itself_are_refused(proxmox: ProxmoxClient, name: str) -> None:
    with pytest.raises(errors.InvalidParameters) as told:
        await proxmox.call("POST", "/access/roles", {"roleid": name, "privs": "VM.Console"})

    assert "namespace" in told.value.errors["roleid"]


@pytest.mark.parametrize("name", ALLOWED)
async def test_names_that_only_look_like_it_are_taken(proxmox: ProxmoxClient, name: str) -> None:
    await proxmox.call("POST", "/access/roles", {"roleid": name, "privs": "VM.Console"})

    assert await Access(proxmox).role_privileges(name) == {"VM.Console"}
