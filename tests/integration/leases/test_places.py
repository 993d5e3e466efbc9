"""A guest that one node cannot make is made on another; what surely did nothing is repeated."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.installation import Installation, running, simulated_proxmox

from pve402.domain import errors, lease
from pve402.proxmox import errors as pve
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.faults import TaskFault
from pve402_devnet.pve.simulator import SimulatedProxmox

World = tuple[SimulatedProxmox, SimulatedChain, SimulatedFacilitator]
NODES = ("one", "two", "three")
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


@pytest.fixture
def world(
    proxmox: SimulatedProxmox, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> World:
    """The simulators of an installation."""
    return proxmox, chain, facilitator


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


async def refused_places(installation: Installation) -> set[str]:
    """The nodes where guests are known not to be made."""
    rooms = await installation.parts.view.rooms_for(installation.parts.settings.pve_os_template)
    return set(NODES) - {room.node for room in rooms}
