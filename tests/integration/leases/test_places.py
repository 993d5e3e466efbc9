"""A guest that one node cannot make is made on another; calls that did nothing are repeated."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.installation import (
    Installation,
    World,
    creation,
    running,
    simulated_proxmox,
)

from pve402.domain import errors, lease
from pve402.proxmox import errors as pve
from pve402_devnet.pve.faults import FaultKind, TaskFault
from pve402_devnet.pve.simulator import SimulatedProxmox

NODES = ("one", "two", "three")
FIRST = "two"  # of nodes that are alike, the last one by name
SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()
LOCKS = [
    "can't lock file '/var/lock/pve-manager/pve-storage-local' - got timeout",
    "can't lock file '/run/lock/lxc/pve-config-10000.lock' - got timeout",
    "cfs-lock 'storage-local' error: got lock request timeout",
    "cfs-locked 'file-user_cfg' operation: got lock timeout",
    "CT is locked (backup)",
    "cluster not ready - no quorum?",
    "unable to open file '/etc/pve/nodes/one/lxc/10000.conf.tmp.99' - Permission denied",
    "unable to create CT 10000 - cfs-lock 'storage-nfs' error: got lock request timeout",
]
NOT_HERE = [
    "storage 'local' does not exist",
    "storage 'local' is not available on node 'one'",
    "volume 'local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst' does not exist",
    "unable to create CT 10000 - no space left on device",
    "bridge 'vmbr0' does not exist",
    "connection check for storage 'local' failed - server offline",
    "unable to activate storage 'local' - directory '/mnt/a' does not exist or is unreachable",
    "content type 'rootdir' is not available on storage 'local'",
    "no such volume group 'vg1'",
]


@pytest.fixture
async def proxmox() -> AsyncIterator[SimulatedProxmox]:
    """A cluster of three nodes, whose work takes no time."""
    async with simulated_proxmox(*NODES) as running:
        yield running


@pytest.mark.parametrize("text", LOCKS)
async def test_a_creation_that_ended_for_a_lock_is_asked_for_again(
    installation: Installation, text: str
) -> None:
    installation.proxmox.world.faults.order_for_task(TaskFault(type="vzcreate", text=text))

    answer = await installation.lease()

    assert installation.runs(answer.lease.vmid)
    assert installation.earned > 0


@pytest.mark.parametrize("text", NOT_HERE)
async def test_another_node_is_tried_where_a_creation_cannot_work(
    installation: Installation, text: str
) -> None:
    installation.proxmox.world.faults.order_for_task(TaskFault(type="vzcreate", text=text))

    first, second = [await installation.lease() for _ in range(2)]

    places = {answer.lease.node for answer in (first, second)}
    assert len(installation.marked_guests) == 2
    assert places < set(NODES)
    assert await refused_places(installation) & places == set()


CALLS = {
    "the call is refused": ("POST .*/lxc$", FaultKind.ERROR),
    "the node is dead": ("/nodes/two/", FaultKind.UNREACHABLE),
    "the node dies before the call": ("POST .*/nodes/two/lxc$", FaultKind.UNREACHABLE),
}
TASKS = {
    "nothing is made": TaskFault(type="vzcreate", text="command 'tar' failed: exit code 2"),
    "a guest is made": TaskFault(type="vzcreate", text="mkfs: I/O error", executed=True),
    "it does not start": TaskFault(type="vzstart", text="startup for container failed"),
}


@pytest.mark.parametrize("trouble", [*CALLS, *TASKS])
async def test_another_node_is_tried_after_a_failure_of_any_kind(
    installation: Installation, trouble: str
) -> None:
    if trouble in CALLS:
        pattern, kind = CALLS[trouble]
        installation.fail_call(pattern, kind, times=1 if kind is FaultKind.ERROR else 1000)
    else:
        installation.proxmox.world.faults.order_for_task(TASKS[trouble])

    row = (await installation.lease()).lease

    assert row.node != FIRST
    assert installation.marked_guests == {row.vmid}
    assert installation.runs(row.vmid)
    assert await refused_places(installation) == set()


async def test_a_guest_that_a_killed_task_left_half_made_is_made_on_another_node(
    installation: Installation,
) -> None:
    installation.proxmox.world.faults.kill_creates = 1
    wish = creation()
    asked = installation.buy(installation.tenant(), wish, wait_seconds=0.0)
    await installation.leases.create(wish, asked)
    await installation.settled_down()
    (left,) = await installation.leases_now()

    installation.pass_time(installation.parts.lease_options.task_shows_seconds)
    row = await installation.until_status(lease.LeaseStatus.ACTIVE)

    assert (left.node, row.lease_id) == (FIRST, left.lease_id)
    assert row.node != FIRST
    assert row.vmid != left.vmid
    assert installation.runs(row.vmid)
    assert installation.proxmox.world.guests[left.vmid].config.text("lock") == "create"


async def test_a_node_in_maintenance_gets_no_guest_and_keeps_those_it_has(
    installation: Installation,
) -> None:
    before = (await installation.lease()).lease
    installation.proxmox.world.maintenance = {"two"}
    await installation.parts.view.fresh(0.0)

    rows = [(await installation.lease()).lease for _ in range(3)]

    assert before.node == "two"
    assert {row.node for row in rows} == {"one", "three"}
    assert installation.runs(before.vmid)


async def test_a_guest_that_fails_everywhere_is_tried_in_a_few_places_and_refused(
    installation: Installation,
) -> None:
    installation.fail_call("POST .*/lxc$", times=1000)
    asked = installation.record_proxmox_calls()

    with pytest.raises(errors.ProvisioningFailed):
        await installation.lease()
    await installation.settled_down()

    tried = [call.split("/")[2] for call in asked if call.startswith("POST") and "/lxc" in call]
    assert sorted(tried) == sorted(NODES)
    assert installation.earned == 0


async def test_a_request_of_unknown_outcome_is_not_left_for_another_node(
    installation: Installation,
) -> None:
    installation.fail_call("POST .*/lxc$", FaultKind.GATEWAY_TIMEOUT, executed=True)

    row = (await installation.lease()).lease

    assert row.node == FIRST
    assert installation.marked_guests == {row.vmid}


@pytest.mark.parametrize("text", NOT_HERE)
async def test_where_no_node_can_make_it_nothing_is_charged(
    installation: Installation, text: str
) -> None:
    for _ in NODES:
        installation.proxmox.world.faults.order_for_task(TaskFault(type="vzcreate", text=text))

    with pytest.raises(errors.ProvisioningFailed):
        await installation.lease()
    await installation.settled_down()

    assert installation.earned == 0
    assert installation.marked_guests == set()


@pytest.mark.parametrize(
    "text",
    [
        "startup for container '10000' failed",
        "command 'lxc-start' failed: exit code 1",
        "unable to open file - No such file or directory",
        "cgroup: out of memory",
        "mount point is a file",
    ],
)
async def test_the_end_of_a_failed_tasks_log_is_kept_for_the_operator(
    installation: Installation, text: str
) -> None:
    for _ in NODES:
        installation.proxmox.world.faults.order_for_task(TaskFault(type="vzstart", text=text))

    with pytest.raises(errors.ProvisioningFailed) as told:
        await installation.lease()

    (refused,) = await installation.orders_now()
    assert refused.last_error is not None
    assert "task log:" in refused.last_error
    assert text in refused.last_error
    assert text not in str(told.value)


@pytest.mark.parametrize("way", ["cold", "warm", "asked for again", "on another node"])
@pytest.mark.parametrize("sku", ["standard-lxc", "basic-lxc"])
@pytest.mark.parametrize(("nesting", "features"), [(True, "nesting=1"), (False, "")])
async def test_guests_may_nest_unless_the_sku_says_no(
    tmp_path: Path, world: World, nesting: bool, features: str, sku: str, way: str
) -> None:
    lines = SHIPPED.replace(f"[sku.{sku}]", f"[sku.{sku}]\nnesting = {str(nesting).lower()}")
    catalogue_file = tmp_path / "catalogue.toml"
    catalogue_file.write_text(lines)
    proxmox, _, _ = world
    trouble = {"asked for again": LOCKS[4], "on another node": NOT_HERE[0]}.get(way)
    if trouble is not None:
        proxmox.world.faults.order_for_task(TaskFault(type="vzcreate", text=trouble))
    pool = f"{sku}:1:512:8=1" if way == "warm" else ""
    url = f"sqlite:///{tmp_path}/db.sqlite3"

    async with running(url, *world, pve402_catalogue=catalogue_file, pve402_pool=pool) as made:
        if way == "warm":
            await made.pool_of(1)
        row = (await made.lease(sku=sku)).lease
        options = proxmox.world.guests[row.vmid].config.options

    assert options.get("features", "") == features


async def test_a_request_of_unknown_outcome_is_not_left_behind_on_an_unfit_node(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, asked = installation.parts.guests.create, list[Any]()

    async def create(ref: Any, spec: Any) -> Any:
        asked.append((ref, spec))
        if len(asked) == 1:
            raise pve.OutcomeUnknown("no answer", call="POST", subject="")
        raise pve.StorageMissing("storage 'local' does not exist", call="POST", subject="")

    monkeypatch.setattr(installation.parts.guests, "create", create)

    with pytest.raises(errors.ProvisioningFailed):
        await installation.lease()
    await honest(*asked[0])
    installation.pass_time(installation.parts.lease_options.late_create_seconds + 60)
    gone = await installation.until_status(lease.LeaseStatus.FAILED)

    assert gone.vmid == asked[0][0].vmid
    assert installation.marked_guests == set()


async def test_a_guest_whose_creation_was_killed_is_refused_in_time(
    installation: Installation,
) -> None:
    installation.proxmox.world.faults.kill_creates = 1
    asking = asyncio.create_task(installation.lease())
    stuck = await installation.until(lambda row: row.status is lease.LeaseStatus.CREATING)
    await installation.settled_down()
    assert installation.proxmox.world.guests[stuck.vmid].config.text("lock") == "create"
    installation.pass_time(installation.parts.lease_options.creation_limit_seconds + 1)

    for _ in range(20):  # it is looked at again after pauses
        installation.pass_time(5)
        await asyncio.sleep(0.05)
    with pytest.raises(errors.ProvisioningFailed):
        await asyncio.wait_for(asking, 60)

    (refused,) = await installation.orders_now()
    assert refused.refusal == "creation_timed_out"
    assert (await installation.leases_now())[0].status is lease.LeaseStatus.UNWINDING
    assert installation.earned == 0


async def refused_places(installation: Installation) -> set[str]:
    """The nodes where guests are known not to be made."""
    rooms = await installation.parts.view.rooms_for(installation.parts.settings.pve_os_template)
    return set(NODES) - {room.node for room in rooms}
