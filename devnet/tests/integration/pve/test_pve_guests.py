"""Calls on guests that no recording shows: templates, clones of templates, snapshots, pools."""

import asyncio
from typing import Any

import pytest
from devnet.tests.integration.pve.conftest import Client, MakeClient

from pve402_devnet.pve import StorageOptions
from pve402_devnet.pve.options import DEBIAN, LOCAL_LVM, TEMPLATES, NodeOptions

GUEST = "/nodes/pve/lxc/100"
TWO = (NodeOptions(), NodeOptions(name="two"))


@pytest.fixture
async def with_snapshots(make_client: MakeClient) -> Client:
    client = await make_client(storages=(StorageOptions(snapshots=True),))
    await client.create(100, memory=128)
    return client


async def test_a_snapshot_is_taken_rolled_back_to_and_removed(with_snapshots: Client) -> None:
    client, path = with_snapshots, f"{GUEST}/snapshot"
    taken = await client.run("POST", path, snapname="before", description="clean")
    await client.call("PUT", f"{GUEST}/config", memory=256)

    again = await client.run("POST", path, snapname="before")
    back = await client.run("POST", f"{path}/before/rollback", start=1)
    listed = (await client.call("GET", path)).data
    gone = await client.run("DELETE", f"{path}/before")

    assert [t.exit_status for t in (taken, back, gone)] == ["OK"] * 3
    assert again.exit_status == "snapshot name 'before' already used"
    assert [row["name"] for row in listed] == ["before", "current"]
    config = (await client.call("GET", f"{GUEST}/config")).data
    assert config["memory"] == 128
    assert "parent" not in config
    types = [task.upid.type for task in client.proxmox.world.tasks]
    assert types[-3:] == ["vzrollback", "vzstart", "vzdelsnapshot"]


async def test_a_snapshot_can_be_read_and_described(with_snapshots: Client) -> None:
    client, path = with_snapshots, f"{GUEST}/snapshot/s1/config"
    await client.run("POST", f"{GUEST}/snapshot", snapname="s1")

    await client.call("PUT", path, description="better")

    assert (await client.call("GET", path)).data["description"] == "better\n"
    by_name = (await client.call("GET", f"{GUEST}/config", snapshot="s1")).data
    assert by_name["memory"] == 128
    missing = await client.call("GET", f"{GUEST}/config", snapshot="s2")
    assert missing.reason == "snapshot 's2' does not exist"


async def test_a_template_does_not_start_and_is_cloned_in_full(client: Client) -> None:
    await client.create(100)
    assert (await client.call("POST", f"{GUEST}/template")).status == 200
    await asyncio.sleep(0)

    started = await client.run("POST", f"{GUEST}/status/start")
    cloned = await client.run("POST", f"{GUEST}/clone", newid=101, full=1, hostname="copy")

    assert started.exit_status == "you can't start a CT if it's a template"
    assert cloned.exit_status == "OK"
    config = (await client.call("GET", "/nodes/pve/lxc/101/config")).data
    assert (config["hostname"], "template" in config, "lock" in config) == ("copy", False, False)


@pytest.mark.parametrize("full", [0, 1])
async def test_a_clone_for_another_node_moves_there_at_the_end(
    make_client: MakeClient, full: int
) -> None:
    """Taken from PVE/API2/LXC.pm, clone_vm; no recording shows it."""
    shared = StorageOptions(type="rbd", snapshots=True, shared=True)
    client = await make_client(storages=(shared,), nodes=TWO)
    await client.create(100)
    await client.call("POST", f"{GUEST}/template")
    await asyncio.sleep(0)

    cloned = await client.run("POST", f"{GUEST}/clone", newid=101, full=full, target="two")

    assert (cloned.exit_status, cloned.upid.node) == ("OK", "pve")
    assert (await client.call("GET", "/nodes/two/lxc/101/config")).status == 200
    assert (await client.call("GET", "/nodes/pve/lxc/101/config")).status == 500


@pytest.mark.parametrize(
    ("target", "changes", "reason"),
    [
        ("two", {}, "can't clone CT to node 'two' (CT uses local storage)"),
        ("two", {"full": 1, "storage": "local"}, "can't clone to non-shared storage 'local'"),
        ("three", {}, "no such cluster node 'three'"),
    ],
)
async def test_a_clone_for_another_node_needs_shared_storage(
    make_client: MakeClient, target: str, changes: dict[str, Any], reason: str
) -> None:
    client = await make_client(nodes=TWO)
    await client.create(100)

    refused = await client.call("POST", f"{GUEST}/clone", newid=101, target=target, **changes)

    assert refused.reason == reason
    assert set(client.proxmox.world.guests) == {100}
    assert client.proxmox.world.guests[100].config.lock is None


async def test_a_clone_of_a_running_guest_is_refused_and_leaves_nothing(client: Client) -> None:
    await client.create(100)
    await client.run("POST", f"{GUEST}/status/start")

    refused = await client.call("POST", f"{GUEST}/clone", newid=101)

    assert refused.reason == ("Full clone of a running container is only possible from a snapshot")
    assert set(client.proxmox.world.guests) == {100}
    assert client.proxmox.world.guests[100].config.lock is None


async def test_guests_join_a_pool_at_birth_and_leave_it_in_the_end(client: Client) -> None:
    await client.call("POST", "/pools", poolid="rented")
    await client.create(100, pool="rented")

    members = (await client.call("GET", "/pools/rented")).data["members"]
    full = await client.call("DELETE", "/pools/rented")
    await client.run("DELETE", GUEST)
    emptied = await client.call("DELETE", "/pools/rented")

    assert [row["vmid"] for row in members] == [100]
    assert full.reason.endswith("is not empty (contains VM 100)")
    assert emptied.status == 200


async def test_four_creates_of_one_vmid_make_one_guest(make_client: MakeClient) -> None:
    client = await make_client(daemon_workers=4)
    fields = {"vmid": 100, "ostemplate": "local:vztmpl/busybox-alpine-3.22_1_amd64.tar.gz"}
    creates = [client.call("POST", "/nodes/pve/lxc", **fields) for _ in range(4)]

    answers = await asyncio.gather(*creates)

    assert sorted(answer.status for answer in answers) == [200, 500, 500, 500]
    assert all("CT 100 already exists" in a.reason for a in answers if a.status == 500)


async def test_a_call_of_a_missing_guest_fails_in_its_task_or_at_once(client: Client) -> None:
    start = await client.run("POST", f"{GUEST}/status/start")
    stop = await client.call("POST", f"{GUEST}/status/stop")

    assert start.exit_status == "Configuration file 'nodes/pve/lxc/100.conf' does not exist"
    assert stop.reason == "CT 100 not running"


@pytest.fixture
async def with_thin_pool(make_client: MakeClient) -> Client:
    return await make_client(storages=(StorageOptions(), LOCAL_LVM))


async def test_a_guest_on_a_thin_pool_has_a_logical_volume(with_thin_pool: Client) -> None:
    created = await with_thin_pool.create(100, rootfs="local-lvm:2", storage="local-lvm")
    config = (await with_thin_pool.call("GET", f"{GUEST}/config")).data
    snapshot = await with_thin_pool.run("POST", f"{GUEST}/snapshot", snapname="before")
    listed = await with_thin_pool.call("GET", "/nodes/pve/storage/local-lvm/content")

    assert created.exit_status == snapshot.exit_status == "OK"
    assert '  Logical volume "vm-100-disk-0" created.' in created.lines
    assert config["rootfs"] == "local-lvm:vm-100-disk-0,size=2G"
    assert [(row["volid"], row["format"]) for row in listed.data] == [
        ("local-lvm:vm-100-disk-0", "raw")
    ]


async def test_a_thin_pool_grows_a_disk_and_the_file_system_of_a_running_guest(
    with_thin_pool: Client,
) -> None:
    await with_thin_pool.create(100, rootfs="local-lvm:1")
    await with_thin_pool.run("POST", f"{GUEST}/status/start")

    task = await with_thin_pool.run("PUT", f"{GUEST}/resize", disk="rootfs", size="+1G")

    assert task.lines[0].endswith("from 1.00 GiB (256 extents) to 2.00 GiB (512 extents).")
    assert "The filesystem on /dev/pve/vm-100-disk-0 is now 524288 (4k) blocks long." in task.lines


async def test_a_thin_pool_holds_no_template_and_says_when_it_is_full(
    with_thin_pool: Client,
) -> None:
    no_template = await with_thin_pool.call(
        "POST", "/nodes/pve/lxc", vmid=100, ostemplate="local-lvm:vztmpl/a_1_amd64.tar.gz"
    )
    await with_thin_pool.order("/state", fullStorages=["local-lvm"])
    full = await with_thin_pool.create(100, rootfs="local-lvm:1")

    assert no_template.reason == "unable to parse lvm volume name 'vztmpl/a_1_amd64.tar.gz'"
    assert full.exit_status is not None
    assert full.exit_status.endswith("free space in thin pool pve/data reached threshold.")
    assert 100 not in with_thin_pool.proxmox.world.guests


async def test_another_guests_disk_outlives_whoever_borrowed_it(client: Client) -> None:
    await client.create(101)
    await client.create(100)
    await client.call("PUT", f"{GUEST}/config", mp0="local:101/vm-101-disk-0.raw,mp=/theirs")

    await client.run("DELETE", GUEST)

    listed = await client.call("GET", "/nodes/pve/storage/local/content", content="rootdir")
    assert [row["volid"] for row in listed.data] == ["local:101/vm-101-disk-0.raw"]


SYSTEMD = DEBIAN.name
WARNING = "WARN: Systemd 252 detected. You may need to enable nesting."


@pytest.mark.parametrize(
    ("template", "features", "end"),
    [
        (SYSTEMD, {}, "WARNINGS: 1"),
        (SYSTEMD, {"features": "nesting=0"}, "WARNINGS: 1"),
        (SYSTEMD, {"features": "nesting=1"}, "OK"),
        (SYSTEMD, {"unprivileged": "0"}, "OK"),
        ("busybox-alpine-3.22_1_amd64.tar.gz", {}, "OK"),
    ],
)
async def test_a_systemd_without_nesting_is_warned_about(
    make_client: MakeClient, template: str, features: dict[str, str], end: str
) -> None:
    client = await make_client(templates=(DEBIAN, *TEMPLATES))

    created = await client.create(100, ostemplate=f"local:vztmpl/{template}", **features)
    started = await client.run("POST", "/nodes/pve/lxc/100/status/start")

    assert (created.exit_status, started.exit_status) == (end, end)
    assert (WARNING in created.lines, WARNING in started.lines) == (end != "OK", end != "OK")
