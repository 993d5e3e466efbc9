"""What a snapshot keeps of a guest's files, and who gets it back."""

import dataclasses
from pathlib import Path

import pytest
from devnet.tests.integration.pve.conftest import Client, MakeClient, make_client
from devnet.tests.support.guests import expect_soon

from pve402_devnet.guests.runtime import NamespaceRuntime
from pve402_devnet.pve import Progress, StorageOptions
from pve402_devnet.pve.options import Latencies

__all__ = ["make_client"]

GUEST = "/nodes/pve/lxc/100"
SNAPSHOT = f"{GUEST}/snapshot"
STORAGES = (StorageOptions(snapshots=True),)


@pytest.fixture
async def client(make_client: MakeClient, runtime: NamespaceRuntime) -> Client:
    """A cluster with one guest, which has an old file."""
    made = await make_client(runtime, storages=STORAGES)
    await made.create(100)
    (runtime.disk(100) / "srv").mkdir(parents=True)
    (runtime.disk(100) / "srv/old").write_text("then")
    return made


def change(runtime: NamespaceRuntime) -> None:
    """Have the guest write to its old file, and make a new one."""
    with (runtime.disk(100) / "srv/old").open("a") as file:
        file.write(" and now")
    (runtime.disk(100) / "srv/new").touch()


def files(disk: Path) -> dict[str, str]:
    """The files of a disk."""
    return {one.name: one.read_text() for one in (disk / "srv").iterdir()}


def kept(runtime: NamespaceRuntime) -> bool:
    """Whether anything is there of any snapshot."""
    return any(runtime.disk(100).parent.glob("*.snapshots/*"))


async def test_a_rollback_puts_the_files_back(client: Client, runtime: NamespaceRuntime) -> None:
    await client.run("POST", SNAPSHOT, snapname="before")
    for _ in range(2):
        change(runtime)

        task = await client.run("POST", f"{SNAPSHOT}/before/rollback")

        assert task.exit_status == "OK"
        assert files(runtime.disk(100)) == {"old": "then"}


async def test_a_clone_has_the_files_of_its_snapshot_or_those_of_now(
    client: Client, runtime: NamespaceRuntime
) -> None:
    await client.run("POST", SNAPSHOT, snapname="before")
    change(runtime)

    await client.run("POST", f"{GUEST}/clone", newid=101, snapname="before")
    await client.run("POST", f"{GUEST}/clone", newid=102)

    assert files(runtime.disk(101)) == {"old": "then"}
    assert files(runtime.disk(102)) == {"old": "then and now", "new": ""}


@pytest.mark.parametrize("path", [f"{SNAPSHOT}/before", GUEST])
async def test_nothing_is_kept_of_what_is_deleted(
    client: Client, runtime: NamespaceRuntime, path: str
) -> None:
    await client.run("POST", SNAPSHOT, snapname="before")
    assert kept(runtime)

    await client.run("DELETE", path)

    assert not kept(runtime)


async def test_an_interrupted_snapshot_keeps_nothing(
    make_client: MakeClient, runtime: NamespaceRuntime
) -> None:
    slow = dataclasses.replace(Latencies().scaled(0), snapshot=3600)
    client = await make_client(
        runtime, storages=STORAGES, latencies=slow, progress=Progress.BY_TIME
    )
    await client.create(100)
    answer = await client.call("POST", SNAPSHOT, snapname="before")
    await expect_soon(lambda: kept(runtime))

    await client.call("DELETE", f"/nodes/pve/tasks/{answer.data}")

    await client.proxmox.world.tasks.require(answer.data).ended.wait()
    assert not kept(runtime)
    assert client.proxmox.world.guests[100].config.lock is None


async def test_a_clone_that_fails_leaves_no_files(
    client: Client, runtime: NamespaceRuntime
) -> None:
    runtime.disk(101).mkdir()

    task = await client.run("POST", f"{GUEST}/clone", newid=101)

    assert str(task.exit_status).startswith("clone failed: ")
    assert not runtime.disk(101).exists()
    assert set(client.proxmox.world.guests) == {100}
    assert client.proxmox.world.guests[100].config.lock is None


async def test_a_rollback_that_fails_leaves_the_guest_locked(
    client: Client, runtime: NamespaceRuntime
) -> None:
    await client.run("POST", SNAPSHOT, snapname="before")
    await runtime.delete_snapshot(100, "before")

    task = await client.run("POST", f"{SNAPSHOT}/before/rollback")

    assert "No such file or directory" in str(task.exit_status)
    assert (await client.call("GET", f"{GUEST}/config")).data["lock"] == "rollback"
    assert files(runtime.disk(100)) == {"old": "then"}
