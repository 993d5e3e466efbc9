"""The client against fakepve, a fake Proxmox VE that others wrote from its schema."""

from dataclasses import replace
from itertools import count

import pytest
from tests.support.fakepve import NODE

from pve402.proxmox import errors
from pve402.proxmox.client import ProxmoxClient
from pve402.proxmox.guests import GuestRef, Guests, GuestSpec, NetworkSpec, RunState
from pve402.proxmox.nodes import Nodes
from pve402.proxmox.storage import Storages
from pve402.proxmox.tasks import PollPolicy, Tasks

pytestmark = pytest.mark.fakepve

HELD = GuestRef(node=NODE, vmid=200)
STUBBORN = GuestRef(node=NODE, vmid=201)
BROKEN = GuestRef(node=NODE, vmid=202)
KEPT = GuestRef(node=NODE, vmid=203)
MISSING = GuestRef(node=NODE, vmid=999)
SPEC = GuestSpec(
    hostname="web-1",
    template="local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst",
    storage="local-lvm",
    disk_gb=8,
    memory_mb=512,
    cores=2,
    network=NetworkSpec(bridge="vmbr0", ipv4="10.0.0.5/24", gateway4="10.0.0.1", vlan_tag=7),
    password="hunter22",
    tags=("pve402-a", "lease-x"),
    description="pve402:v1:x",
    nesting=True,
)
QUICK = PollPolicy(first_seconds=0.02, ceiling_seconds=0.1)
_vmids = count(300)


async def create(guests: Guests, tasks: Tasks) -> GuestRef:
    ref = GuestRef(node=NODE, vmid=next(_vmids))
    upid = await guests.create(ref, SPEC)
    await tasks.wait_until_finished(upid, limit_seconds=30, policy=QUICK)
    return ref


async def test_a_guest_lives_from_creation_to_deletion(guests: Guests, tasks: Tasks) -> None:
    ref = await create(guests, tasks)
    config = await guests.config(ref)

    for step in (guests.start, guests.stop, guests.delete):
        upid = await step(ref)
        end = await tasks.wait_until_finished(upid, limit_seconds=30, policy=QUICK)
        assert end.ok
        assert (upid.node, upid.vmid) == (NODE, ref.vmid)

    assert (config.hostname, config.cores, config.memory_mb) == ("web-1", 2, 512)
    assert set(config.tags) == {"pve402-a", "lease-x"}
    assert config.description == "pve402:v1:x"
    assert config.values["unprivileged"] == "1"
    assert config.values["cmode"] == "shell"
    assert "gw=10.0.0.1" in config.values["net0"]
    with pytest.raises(errors.GuestMissing):
        await guests.status(ref)


async def test_a_running_guest_is_seen_running(guests: Guests, tasks: Tasks) -> None:
    ref = await create(guests, tasks)
    upid = await guests.start(ref)
    await tasks.wait_until_finished(upid, limit_seconds=30, policy=QUICK)

    status = await guests.status(ref)
    cards = await guests.interfaces(ref)
    (listed,) = [guest for guest in await guests.list_all() if guest.vmid == ref.vmid]

    assert status.state is listed.state is RunState.RUNNING
    assert status.memory_total == listed.memory_total == 512 * 1024 * 1024
    assert "eth0" in [card.name for card in cards]
    with pytest.raises(errors.GuestRunning):
        await guests.start(ref)
    with pytest.raises(errors.GuestRunning):
        await guests.delete(ref)


async def test_a_stopped_guest_is_not_running(guests: Guests, tasks: Tasks) -> None:
    ref = await create(guests, tasks)

    assert await guests.interfaces(ref) == ()
    for action in (guests.stop, guests.shutdown, guests.reboot):
        with pytest.raises(errors.GuestNotRunning):
            await action(ref)


async def test_a_taken_vmid_is_taken_for_creation_and_for_nextid(
    guests: Guests, tasks: Tasks
) -> None:
    ref = await create(guests, tasks)

    with pytest.raises(errors.GuestExists) as caught:
        await guests.create(ref, SPEC)
    with pytest.raises(errors.GuestExists):
        await guests.next_vmid(ref.vmid)
    assert caught.value.vmid == ref.vmid
    assert await guests.next_vmid(54321) == 54321
    assert await guests.next_vmid() not in {200, 201, 202, 203, ref.vmid}


async def test_a_missing_guest_is_missing(guests: Guests, tasks: Tasks) -> None:
    for question in (guests.status, guests.config):
        with pytest.raises(errors.GuestMissing):
            await question(MISSING)

    upid = await guests.start(MISSING)
    with pytest.raises(errors.TaskFailed) as caught:
        await tasks.wait_until_finished(upid, limit_seconds=30, policy=QUICK)
    assert isinstance(caught.value.cause, errors.GuestMissing)
    assert caught.value.log_tail


async def test_a_lock_ends_the_task(guests: Guests, tasks: Tasks) -> None:
    upid = await guests.start(HELD)
    with pytest.raises(errors.TaskFailed) as caught:
        await tasks.wait_until_finished(upid, limit_seconds=30, policy=QUICK)
    assert isinstance(caught.value.cause, errors.GuestLocked)
    assert caught.value.cause.lock == "backup"
    with pytest.raises(errors.GuestLocked):
        await guests.delete(HELD)


async def test_a_guest_that_does_not_start_names_why(guests: Guests, tasks: Tasks) -> None:
    upid = await guests.start(BROKEN)

    with pytest.raises(errors.TaskFailed) as caught:
        await tasks.wait_until_finished(upid, limit_seconds=30, policy=QUICK)
    assert isinstance(caught.value.cause, errors.BridgeMissing)


async def test_a_shutdown_that_is_ignored_fails_and_its_task_was_active(
    guests: Guests, tasks: Tasks
) -> None:
    upid = await guests.shutdown(STUBBORN, limit_seconds=60)
    active = await tasks.list_active(NODE, STUBBORN.vmid)

    with pytest.raises(errors.TaskFailed):
        await tasks.wait_until_finished(upid, limit_seconds=30, policy=QUICK)
    assert [task.text for task in active] == [upid.text]
    assert await tasks.list_active(NODE, STUBBORN.vmid) == ()


async def test_a_wait_can_end_before_the_task(guests: Guests, tasks: Tasks) -> None:
    upid = await guests.shutdown(STUBBORN, limit_seconds=60)

    with pytest.raises(errors.TaskTimeout):
        await tasks.wait_until_finished(upid, limit_seconds=0.05, policy=QUICK)
    with pytest.raises(errors.TaskFailed):
        await tasks.wait_until_finished(upid, limit_seconds=30, policy=QUICK)


async def test_a_protected_guest_is_not_deleted(guests: Guests) -> None:
    with pytest.raises(errors.GuestProtected):
        await guests.delete(KEPT)


async def test_a_configuration_is_changed_by_its_digest(guests: Guests, tasks: Tasks) -> None:
    ref = await create(guests, tasks)
    before = await guests.config(ref)

    await guests.update_config(ref, {"description": "new", "memory": 256}, digest=before.digest)

    after = await guests.config(ref)
    assert (after.description, after.memory_mb) == ("new", 256)
    with pytest.raises(errors.ConfigChanged):
        await guests.update_config(ref, {"memory": 128}, digest=before.digest)
    await guests.update_config(ref, {}, delete=["tags", "description"])
    assert (await guests.config(ref)).tags == ()


async def test_what_proxmox_refuses_is_told_by_parameter(client: ProxmoxClient) -> None:
    with pytest.raises(errors.InvalidParameters) as caught:
        await client.call("POST", f"/nodes/{NODE}/lxc", {"memory": 1, "hostname": "_"})
    assert {"memory", "hostname", "vmid", "ostemplate"} <= set(caught.value.errors)


async def test_nodes_and_storages_are_read(client: ProxmoxClient) -> None:
    nodes, storages = Nodes(client), Storages(client)

    (node,) = await nodes.list()
    found = await nodes.cluster_resources()
    disks = await storages.list(NODE, content="rootdir")
    status = await nodes.status(NODE)

    assert (node.node, node.online, node.cpu_cores) == (NODE, True, 4)
    assert {guest.vmid for guest in found.guests} >= {200, 201, 202, 203}
    assert [disk.storage for disk in disks] == ["local-lvm"]
    assert status.uptime_seconds > 0
    assert (await nodes.version()).release == "9.0"
    assert "vmbr0" in await nodes.bridges(NODE)
    assert await storages.templates(NODE, "local") == ()


async def test_a_node_and_a_storage_that_are_not_there(client: ProxmoxClient) -> None:
    with pytest.raises(errors.NodeUnknown):
        await Nodes(client).status("nosuch")
    with pytest.raises(errors.StorageMissing):
        await Storages(client).status(NODE, "nosuch")
    with pytest.raises(errors.StorageMissing):
        await Guests(client).create(GuestRef(node=NODE, vmid=400), replace(SPEC, storage="nosuch"))
