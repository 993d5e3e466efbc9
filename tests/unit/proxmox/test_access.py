"""Which privileges are lacking, and users for one guest's console."""

import json
from dataclasses import replace

import pytest
from tests.support import recordings, scripted_server
from tests.support.scripted_server import ScriptedServer

from pve402.proxmox import errors
from pve402.proxmox.access import GUEST_PRIVILEGES, Access, Needs
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.guests import GuestRef

NEEDS = Needs(vmid=10000, node="pve", storages=("local",), bridges={"vmbr0": "localnetwork"})
DONE = scripted_server.data("null")


@pytest.fixture
def access(client: ProxmoxClient) -> Access:
    return Access(client)


def recorded_privileges(name: str) -> frozenset[str]:
    (recording,) = [found for found in recordings.load() if found.name == name]
    (privileges,) = recording.data.values()
    return frozenset(privileges)


def granted(path: str, privileges: frozenset[str]) -> bytes:
    return scripted_server.data(json.dumps({path: dict.fromkeys(privileges, 1)}))


async def test_the_least_privileges_recorded_are_enough_but_for_node_figures(
    server: ScriptedServer, access: Access
) -> None:
    server.script = [
        granted("/vms/10000", recorded_privileges("permissions-path-vms-least")),
        granted("/storage/local", recorded_privileges("permissions-path-storage-least")),
        granted("/sdn/zones/localnetwork/vmbr0", frozenset({"SDN.Use"})),
        granted("/nodes/pve", frozenset()),
    ]

    missing = await access.missing_privileges(NEEDS)

    assert missing == {"/nodes/pve": {"Sys.Audit"}}


@pytest.mark.parametrize("lacking", sorted(GUEST_PRIVILEGES))
async def test_each_privilege_that_lacks_is_named(
    lacking: str, server: ScriptedServer, access: Access
) -> None:
    server.script = [
        granted("/vms/10000", GUEST_PRIVILEGES - {lacking}),
        granted("/storage/local", frozenset({"Datastore.AllocateSpace"})),
        granted("/sdn/zones/localnetwork/vmbr0", frozenset({"SDN.Use"})),
        granted("/nodes/pve", frozenset({"Sys.Audit"})),
    ]

    assert await access.missing_privileges(NEEDS) == {"/vms/10000": {lacking}}


async def test_a_login_without_any_privilege_lacks_all(
    server: ScriptedServer, access: Access
) -> None:
    server.script = [granted(path, frozenset()) for path in NEEDS.privileges()]

    assert await access.missing_privileges(NEEDS) == NEEDS.privileges()


def test_a_pool_and_no_figures_change_what_is_needed() -> None:
    needs = Needs(
        vmid=1,
        node="pve",
        storages=("a", "b"),
        bridges={"v": "zone"},
        pool="rented",
        node_figures=False,
    )

    assert set(needs.privileges()) == {
        "/vms/1",
        "/storage/a",
        "/storage/b",
        "/sdn/zones/zone/v",
        "/pool/rented",
    }


def test_console_users_take_more_privileges() -> None:
    plain = set(NEEDS.privileges())

    assert set(replace(NEEDS, console_users=True).privileges()) - plain == {
        "/access/realm/pve",
        "/access/groups",
    }


async def test_a_console_user_is_made_granted_one_guest_and_removed(
    server: ScriptedServer, access: Access
) -> None:
    server.script = [DONE] * 3

    await access.create_user("lease-x@pve", "a long password")
    await access.grant("lease-x@pve", "Console", GuestRef(node="pve", vmid=101))
    await access.delete_user("lease-x@pve")

    user, acl, removal = server.requests
    assert user.form == {"userid": "lease-x@pve", "password": "a long password"}
    assert (acl.method, acl.path) == ("PUT", "/api2/json/access/acl")
    assert acl.form == {
        "path": "/vms/101",
        "users": "lease-x@pve",
        "roles": "Console",
        "propagate": "0",
    }
    assert (removal.method, removal.path) == ("DELETE", "/api2/json/access/users/lease-x%40pve")


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ("create user failed: user 'lease-x@pve' already exists", errors.UserExists),
        ("delete user failed: no such user ('lease-x@pve')", errors.UserMissing),
    ],
)
async def test_users_there_and_not_there_have_their_classes(
    message: str, error: type[errors.ProxmoxError], server: ScriptedServer, access: Access
) -> None:
    server.script = [scripted_server.answer(500, message)]

    with pytest.raises(error) as caught:
        await access.create_user("lease-x@pve", "a long password")
    assert caught.value.subject == "lease-x@pve"


async def test_a_user_already_gone_is_gone(server: ScriptedServer, access: Access) -> None:
    server.script = [scripted_server.answer(500, "delete user failed: no such user ('a@pve')")]

    await access.delete_user("a@pve")

    assert len(server.requests) == 1
