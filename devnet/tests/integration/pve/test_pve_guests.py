"""Calls on guests that no recording shows: templates, clones of templates, snapshots, pools."""

import asyncio

import pytest
from devnet.tests.integration.pve.conftest import Client, MakeClient

from pve402_devnet.pve import StorageOptions
from pve402_devnet.pve.options import TEMPLATES, TemplateOptions

GUEST = "/nodes/pve/lxc/100"


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


async def test_a_snapshot_can_be_read_and_described(with_snapshots: Client) -> None:
    client, path = with_snapshots, f"{GUEST}/snapshot/s1/config"
    await client.run("POST", f"{GUEST}/snapshot", snapname="s1")

    await client.call("PUT", path, description="better")

    assert (await client.call("GET", path)).data["description"] == "better"
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


SYSTEMD = "debian-12-standard_12.12-1_amd64.tar.zst"
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
    debian = TemplateOptions(name=SYSTEMD, size_bytes=1000, os_type="debian", systemd=252)
    client = await make_client(templates=(debian, *TEMPLATES))

    created = await client.create(100, ostemplate=f"local:vztmpl/{template}", **features)
    started = await client.run("POST", "/nodes/pve/lxc/100/status/start")

    assert (created.exit_status, started.exit_status) == (end, end)
    assert (WARNING in created.lines, WARNING in started.lines) == (end != "OK", end != "OK")
