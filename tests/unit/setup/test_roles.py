"""Roles and grants: one list, which the page on rights, the devnet and the doctor agree with."""

import dataclasses
import re

import pytest
from tests.support import project

from pve402.proxmox import access, roles
from pve402.proxmox.administration import Grant
from pve402_devnet import proxmox as devnet

PAGES = project.ROOT / "docs" / "how-to"
LEAST = access.Needs(vmid=10000, node="pve", storages=("local",), bridges={"vmbr0": "localnetwork"})
EVERYTHING = access.Needs(
    vmid=10000,
    node="pve",
    storages=("local-lvm", "local"),
    bridges={"vmbr0": "localnetwork", "web": "tenants"},
    pool="leases",
    console_users=True,
    firewall=True,
    ipam=frozenset({"web"}),
    snapshots=True,
)


CLONES = dataclasses.replace(LEAST, clones=True)
ALL_OF_GUESTS = dataclasses.replace(EVERYTHING, clones=True)


@pytest.mark.parametrize("needs", [LEAST, EVERYTHING, CLONES, ALL_OF_GUESTS])
def test_what_is_granted_is_what_is_needed_and_no_more(needs: access.Needs) -> None:
    privileges = {roles.place_of(path): held for path, held in needs.privileges().items()}
    granted = {grant.path: roles.named(grant.role) for grant in roles.grants([needs])}

    assert granted.keys() == privileges.keys()
    for path, role in granted.items():
        wider = {"/pool/leases": access.GUEST_PRIVILEGES}  # guests of the pool have them anyway
        shared = roles.USERS.privileges if path.startswith("/access") else privileges[path]
        assert role.privileges == wider.get(path, shared)


def test_no_grant_replaces_a_wider_one() -> None:
    granted = list(roles.grants([EVERYTHING]))

    below = [
        (above.path, deep.path)
        for above in granted
        for deep in granted
        if above.propagate and deep.path.startswith(above.path.rstrip("/") + "/")
    ]

    assert below == []
    assert Grant(path="/", role="R402Node", propagate=False) in granted


def test_several_nodes_are_granted_once_each() -> None:
    needs = [access.Needs(**{**vars(LEAST), "node": name}) for name in ("a", "b", "a")]

    paths = [grant.path for grant in roles.grants(needs)]

    assert paths.count("/vms") == 1
    assert [path for path in paths if path.startswith("/nodes")] == ["/nodes/a", "/nodes/b"]


def test_the_pages_have_the_same_roles() -> None:
    text = "\n".join((PAGES / name).read_text() for name in ("proxmox-rights.md", "console.md"))
    documented = {
        name: frozenset(held.split())
        for name, held in re.findall(r'pveum role add (\w+) --privs "([^"]+)"', text)
    }
    ours = (roles.GUESTS, roles.STORAGE, roles.BRIDGE, roles.NODE, roles.VNET, roles.USERS)
    ours += (roles.SNAPSHOT_GUESTS, roles.CLONE_GUESTS, roles.CLONE_SNAPSHOT_GUESTS)
    ours += (roles.PULL_STORAGE, roles.PULL_NODE)

    assert {role.name: role.privileges for role in ours}.items() <= documented.items()
    others = {"R402Console", "R402Images"}
    assert documented.keys() - {role.name for role in ours} == others


def test_the_devnet_grants_the_same_roles() -> None:
    simulated = {name: frozenset(held) for name, held in devnet.ROLES}

    pulls = (roles.PULL_STORAGE, roles.PULL_NODE)
    for role in (roles.CLONE_SNAPSHOT_GUESTS, roles.STORAGE, roles.BRIDGE, *pulls):
        assert simulated[role.name] == role.privileges
