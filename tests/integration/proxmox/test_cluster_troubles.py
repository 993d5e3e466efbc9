"""More of what fakepve can do to a client: backups, migrations, HA, Ceph, rights; and that none of
its scenarios is left out."""

import re
from pathlib import Path

import pytest
from tests.integration.proxmox import test_scenarios
from tests.integration.proxmox.test_scenarios import CT, SPEC, client, finish, guests, pve, tasks
from tests.support import project
from tests.support.scenarios import NODE, Scenarios

from pve402.proxmox import access, errors
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.guests import GuestRef, Guests, RunState
from pve402.proxmox.storage import Storages
from pve402.proxmox.tasks import Tasks

__all__ = ["client", "guests", "pve", "tasks"]

pytestmark = pytest.mark.fakepve

TOKEN_ID, TOKEN = "renter@pve!pve402", "0b5a3b3e-7d2a-4a3f-9d5c-2f1e0c9b8a77"
OTHER_NODE = "pve2"
ON_CEPH = {"rootfs": "ceph-pool:vm-200-disk-0,size=8G"}
ON_A_LEASE = project.ROOT / "tests/acceptance/test_lease_on_fakepve.py"
SCENARIO_FILES = (Path(__file__), Path(test_scenarios.__file__), ON_A_LEASE)
NO_SCENARIOS = {
    # how it is built, asked and run
    *(
        "start",
        "stop",
        "add_ct",
        "add_vm",
        "add_node",
        "guest",
        "vm",
        "ct",
        "find",
        "answer",
        "resolve",
    ),
    *("ct_resources", "errors_for", "synthesise", "firewall_config", "storage_config", "is_world"),
    *("store_file", "file_size", "volume_exists", "task", "pause", "acquire", "release"),
    # how it asks itself whether a scenario is on
    *("need_quorum", "allowed", "require", "check_permissions", "check_password", "issue_ticket"),
    *("ceph_storages", "on_ceph", "ceph_io"),
}


async def test_a_backup_that_runs_is_waited_out(
    pve: Scenarios, guests: Guests, tasks: Tasks
) -> None:
    backup = pve("backup", 200, secs=50)
    with pytest.raises(errors.GuestLocked) as refused:
        await guests.update_config(CT, {"description": "x"})
    with pytest.raises(errors.GuestLocked):
        await guests.delete(CT)
    active = await tasks.list_active(NODE, 200)

    assert refused.value.lock == "backup"
    assert [upid.text for upid in active] == [backup]
    assert (await finish(tasks, active[0])).ok
    await guests.update_config(CT, {"description": "x"})


async def test_a_guest_that_is_migrated_is_missing_here_and_listed_there(
    pve: Scenarios, guests: Guests, tasks: Tasks
) -> None:
    pve("migrate", 200, OTHER_NODE, secs=50)
    (moving,) = await tasks.list_active(NODE, 200)
    await finish(tasks, moving)

    with pytest.raises(errors.GuestMissing):
        await guests.status(CT)
    (listed,) = await guests.list_all()
    moved = GuestRef(node=OTHER_NODE, vmid=200)

    assert listed.node == OTHER_NODE
    assert (await guests.status(moved)).state is RunState.STOPPED


async def test_a_start_left_to_ha_is_only_a_request(
    pve: Scenarios, guests: Guests, tasks: Tasks
) -> None:
    pve("set_guest", 200, "ha_state", "stopped")
    pve("set", "ha_delay", 10_000)

    assert (await finish(tasks, await guests.start(CT))).ok
    assert (await guests.status(CT)).state is RunState.STOPPED


async def test_ceph_that_is_away_fails_the_start_and_shows_in_the_storage(
    pve: Scenarios, client: ProxmoxClient, guests: Guests, tasks: Tasks
) -> None:
    pve("add_ceph_storage")
    pve("set_guest", 200, "config", {"hostname": "web-1", **ON_CEPH})
    pve("ceph_down")
    with pytest.raises(errors.TaskFailed) as caught:
        await finish(tasks, await guests.start(CT))
    away = await Storages(client).status(NODE, "ceph-pool")
    pve("ceph_recover")

    assert "rbd" in caught.value.exitstatus
    assert not away.active
    assert (await finish(tasks, await guests.start(CT))).ok


async def test_ceph_that_is_slow_only_takes_its_time(
    pve: Scenarios, guests: Guests, tasks: Tasks
) -> None:
    pve("add_ceph_storage")
    pve("set_guest", 200, "config", {"hostname": "web-1", **ON_CEPH})
    pve("ceph_slow", 20)

    assert (await finish(tasks, await guests.start(CT))).ok
    assert (await guests.status(CT)).state is RunState.RUNNING


async def test_without_the_rights_nothing_can_be_done_and_the_answer_says_so(
    pve: Scenarios,
) -> None:
    pve("set", "apitokens", {TOKEN_ID: TOKEN})
    pve("grant", "renter@pve", "/vms", "VM.Audit")

    async with ProxmoxClient(_as_renter(pve)) as fresh:
        renter = Guests(fresh)
        assert (await renter.status(CT)).state is RunState.STOPPED
        for refused in (
            renter.start(CT),
            renter.delete(CT),
            renter.open_terminal(CT),
            renter.update_config(CT, {"description": "x"}),
            renter.create(GuestRef(node=NODE, vmid=300), SPEC),
        ):
            with pytest.raises(errors.PermissionDenied):
                await refused


async def test_our_list_of_rights_is_enough_by_the_schema(pve: Scenarios) -> None:
    """What docs/how-to/proxmox-rights.md tells operators to grant, judged by others."""
    pve("set", "apitokens", {TOKEN_ID: TOKEN})
    needs = access.Needs(
        vmid=300,
        node=NODE,
        storages=("local", "local-lvm"),
        bridges={"vmbr0": "localnetwork"},
        node_figures=False,
    )
    for path, privileges in needs.privileges().items():
        pve("grant", "renter@pve", path, *sorted(privileges))

    async with ProxmoxClient(_as_renter(pve)) as fresh:
        renter, working = Guests(fresh), Tasks(fresh)
        ref = GuestRef(node=NODE, vmid=300)
        await finish(working, await renter.create(ref, SPEC))
        await finish(working, await renter.start(ref))
        await renter.update_config(ref, {"hostname": "web-2", "description": "x"})
        for console in (renter.open_terminal, renter.open_vnc):
            # Allowed, but fakepve's answer lacks the UPID that Proxmox VE's has.
            with pytest.raises(errors.OutcomeUnknown, match="no UPID"):
                await console(ref)
        await finish(working, await renter.shutdown(ref, limit_seconds=5, force_stop=True))
        await finish(working, await renter.delete(ref))

        with pytest.raises(errors.GuestMissing):
            await renter.status(ref)


def test_no_scenario_of_fakepve_is_left_out(pve: Scenarios) -> None:
    written = "".join(file.read_text() for file in SCENARIO_FILES)
    used = set(re.findall(r"\b(?:pve|made)(?:\.|\(\s*\")(\w+)", written))

    assert set(pve("scenarios")) - NO_SCENARIOS <= used


def _as_renter(pve: Scenarios) -> ProxmoxOptions:
    return ProxmoxOptions(
        host=pve.url,
        token_id=TOKEN_ID,
        token_secret=TOKEN,
        ca_file=pve.certificate.certificate,
    )
