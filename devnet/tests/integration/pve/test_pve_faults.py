"""Faults ordered over the control endpoint, as a client of the API meets them."""

import asyncio

import aiohttp
import pytest
from devnet.tests.integration.pve.conftest import Client, MakeClient

GUEST = "/nodes/pve/lxc/100"


async def test_a_lock_error_for_the_next_matching_call_only(client: Client) -> None:
    await client.create(100)
    await client.order("/faults", pattern="POST .*/status/start$", kind="locked", text="backup")

    first = await client.call("POST", f"{GUEST}/status/start")
    second = await client.call("POST", f"{GUEST}/status/start")

    assert (first.status, first.reason) == (500, "CT is locked (backup)")
    assert second.status == 200


@pytest.mark.parametrize("executed", [True, False])
async def test_596_with_and_without_the_effect(client: Client, executed: bool) -> None:
    await client.create(100)
    await client.order("/faults", pattern="PUT .*/config", kind="596", executed=executed)

    answer = await client.call("PUT", f"{GUEST}/config", tags="x")

    assert (answer.status, answer.body) == (596, "")
    assert ("tags" in (await client.call("GET", f"{GUEST}/config")).data) is executed


async def test_595_is_never_executed(client: Client) -> None:
    await client.order("/faults", pattern="POST /nodes/pve/lxc$", kind="595", executed=True)

    answer = await client.call("POST", "/nodes/pve/lxc", vmid=100, ostemplate="x")

    assert answer.status == 595
    assert client.proxmox.world.guests == {}


@pytest.mark.parametrize("executed", [True, False])
async def test_a_dropped_connection(client: Client, executed: bool) -> None:
    await client.create(100)
    await client.order("/faults", pattern="POST .*/start", kind="drop", executed=executed)

    with pytest.raises(aiohttp.ClientError):
        await client.call("POST", f"{GUEST}/status/start")

    started = [task for task in client.proxmox.world.tasks if task.upid.type == "vzstart"]
    assert bool(started) is executed


async def test_a_slow_answer_comes(client: Client) -> None:
    await client.order("/faults", pattern="GET /version", kind="slow", seconds=0.01, times=2)

    assert (await client.call("GET", "/version")).status == 200
    assert len(client.proxmox.world.faults.happened) == 1


@pytest.mark.parametrize("kind", ["vzcreate", "vzstart"])
async def test_a_task_fails_with_a_text_and_leaves_nothing_behind(
    client: Client, kind: str
) -> None:
    await client.create(101)
    await client.order("/state", failTasks=[{"type": kind, "text": "thin pool is full"}])

    if kind == "vzcreate":
        task = await client.create(100)
        assert task.exit_status == "unable to create CT 100 - thin pool is full"
        assert 100 not in client.proxmox.world.guests
    else:
        task = await client.run("POST", "/nodes/pve/lxc/101/status/start")
        assert task.exit_status == "thin pool is full"
        assert not await client.proxmox.world.is_running(101)


async def test_a_full_storage_fails_the_create(client: Client) -> None:
    await client.order("/state", fullStorages=["local"])

    task = await client.create(100)

    assert task.exit_status is not None
    assert task.exit_status.endswith("vm-100-disk-0.raw: No space left on device")
    assert (await client.call("GET", GUEST)).status == 500


async def test_without_quorum_nothing_is_created_or_started(client: Client) -> None:
    await client.create(100)
    await client.order("/state", quorate=False)

    for path in (f"{GUEST}/status/start", "/nodes/pve/lxc"):
        answer = await client.call(
            "POST", path, **({"vmid": 101, "ostemplate": "x"} if path.endswith("lxc") else {})
        )
        assert answer.reason == "cluster not ready - no quorum?"


async def test_a_killed_create_worker_leaves_lock_and_disk(client: Client) -> None:
    await client.order("/state", killCreates=1)

    task = await client.create(100)

    assert task.exit_status == "unexpected status"
    config = (await client.call("GET", f"{GUEST}/config")).data
    assert set(config) == {"lock", "digest"}
    assert (await client.call("DELETE", GUEST)).reason == "CT is locked (create)"
    volumes = await client.call("GET", "/nodes/pve/storage/local/content", vmid=100)
    assert [row["volid"] for row in volumes.data] == ["local:100/vm-100-disk-0.raw"]


async def test_a_dead_statistics_daemon_leaves_new_guests_unknown(client: Client) -> None:
    await client.create(100)
    await client.proxmox.publish()
    await client.order("/state", statisticsDead=True)
    await client.create(101)
    await client.run("POST", "/nodes/pve/lxc/101/status/start")
    await client.proxmox.publish()

    listed = (await client.call("GET", "/cluster/resources", type="vm")).data
    asked = (await client.call("GET", "/nodes/pve/lxc/101/status/current")).data

    assert {row["vmid"]: row["status"] for row in listed} == {100: "stopped", 101: "unknown"}
    assert asked["status"] == "running"


async def test_faults_can_be_cleared(client: Client) -> None:
    await client.order("/faults", pattern=".", kind="error", text="boom")
    async with client.http.delete(f"{client.proxmox.control_url}/faults") as response:
        assert response.status == 200

    assert (await client.call("GET", "/version")).status == 200


@pytest.mark.parametrize(
    "order",
    [{}, {"pattern": ".", "kind": "no such"}, {"pattern": ".", "kind": "596", "times": "x"}],
)
async def test_what_is_no_fault_is_refused(client: Client, order: dict[str, str]) -> None:
    async with client.http.post(f"{client.proxmox.control_url}/faults", json=order) as response:
        assert response.status == 400


async def test_a_call_that_outlasts_the_proxy_is_596_and_goes_on(
    make_client: MakeClient,
) -> None:
    client = await make_client(proxy_timeout_seconds=0.05)
    await client.create(100)
    world = client.proxmox.world

    async with world.locks.hold(100):
        answer = await client.call("PUT", f"{GUEST}/config", tags="late")
    async with world.locks.hold(100):
        assert world.guests[100].config.options["tags"] == "late"

    assert answer.status == 596


async def test_three_waiting_calls_starve_the_daemon_but_not_the_proxy(client: Client) -> None:
    await client.create(100)
    world = client.proxmox.world

    async with world.locks.hold(100):
        puts = [
            asyncio.create_task(client.call("PUT", f"{GUEST}/config", tags="x")) for _ in range(3)
        ]
        await asyncio.sleep(0.1)
        starved = asyncio.create_task(client.call("GET", f"{GUEST}/status/current"))
        version = await client.call("GET", "/version")
        assert version.status == 200
        assert not starved.done()

    assert (await starved).status == 200
    assert {(await put).status for put in puts} == {200}
