"""OCI images in what no recording shows: other kinds of storages, images and machines."""

import asyncio
import dataclasses

import pytest
from devnet.tests.integration.pve.conftest import Client, MakeClient

from pve402_devnet.pve import Progress, StorageOptions
from pve402_devnet.pve.options import LOCAL_LVM
from pve402_devnet.pve.registries import REGISTRIES, Registry

STORAGE = "/nodes/pve/storage/local"
PULL = f"{STORAGE}/oci-registry-pull"
GUEST = "/nodes/pve/lxc/100"
BUSYBOX = "docker.io/library/busybox:1.36"


async def _files(client: Client) -> list[str]:
    listed = await client.call("GET", f"{STORAGE}/content", content="vztmpl")
    return [row["volid"].partition("/")[2] for row in listed.data if row["format"] == "tar"]


async def _guest(client: Client, reference: str, **params: object) -> list[str]:
    """Make guest 100 of an image; returns the log of its creation."""
    pulled = await client.run("POST", PULL, reference=reference, filename="ours")
    assert pulled.exit_status == "OK"
    made = await client.create(100, ostemplate="local:vztmpl/ours.tar", **params)
    assert made.exit_status == "OK"
    return made.lines


async def _config(client: Client, vmid: int = 100) -> dict[str, object]:
    data: dict[str, object] = (await client.call("GET", f"/nodes/pve/lxc/{vmid}/config")).data
    return data


async def test_a_pulled_file_takes_room_until_it_is_removed(client: Client) -> None:
    before = (await client.call("GET", f"{STORAGE}/status")).data["used"]
    await client.run("POST", PULL, reference=BUSYBOX)
    files, used = await _files(client), (await client.call("GET", f"{STORAGE}/status")).data["used"]

    removed = await client.run("DELETE", f"{STORAGE}/content/local:vztmpl/busybox_1.36.tar")
    again = await client.run("DELETE", f"{STORAGE}/content/vztmpl/busybox_1.36.tar")

    assert ("busybox_1.36.tar" in files, used > before) == (True, True)
    assert "busybox_1.36.tar" not in await _files(client)
    assert (await client.call("GET", f"{STORAGE}/status")).data["used"] == before
    assert removed.upid.type == "imgdel"
    assert removed.lines == ["Removed volume 'local:vztmpl/busybox_1.36.tar'", "TASK OK"]
    assert again.exit_status == "OK"
    path = "/var/lib/vz/template/cache/busybox_1.36.tar"
    assert again.lines[0] == f"disk image '{path}' does not exist"


async def test_disks_are_not_removed_as_files(client: Client) -> None:
    await client.create(100)

    refused = await client.call("DELETE", f"{STORAGE}/content/local:100/vm-100-disk-0.raw")

    assert refused.status == 500
    assert (await client.run("POST", f"{GUEST}/status/start")).exit_status == "OK"


async def test_a_stopped_pull_leaves_no_file(make_client: MakeClient) -> None:
    slow = dataclasses.replace(REGISTRIES[0].images[0], is_slow=True)
    registries = (Registry(host="docker.io", images=(slow,)),)
    client = await make_client(progress=Progress.BY_TIME, registries=registries)
    upid = (await client.call("POST", PULL, reference=BUSYBOX)).data

    stopped = await client.call("DELETE", f"/nodes/pve/tasks/{upid}")

    task = client.proxmox.world.tasks.require(upid)
    async with asyncio.timeout(20):
        await task.ended.wait()
    assert (stopped.status, "received interrupt" in (task.exit_status or "")) == (200, True)
    assert "busybox_1.36.tar" not in await _files(client)


async def test_a_full_storage_takes_no_image(client: Client) -> None:
    client.proxmox.world.storages.require("local", "pve").full = True

    failed = await client.run("POST", PULL, reference=BUSYBOX)

    assert "no space left on device" in failed.lines[-2]
    assert "busybox_1.36.tar" not in await _files(client)


@pytest.mark.parametrize(
    ("kept", "refusal"),
    [
        (LOCAL_LVM, "can't upload to storage type 'lvmthin', not a file based storage!"),
        (
            StorageOptions(name="local-lvm", content=("rootdir",)),
            "storage 'local-lvm' is not configured for content-type 'vztmpl'",
        ),
    ],
)
async def test_storages_that_hold_no_templates_refuse(
    make_client: MakeClient, kept: StorageOptions, refusal: str
) -> None:
    client = await make_client(storages=(kept,))

    path = "/nodes/pve/storage/local-lvm/oci-registry-pull"
    refused = await client.call("POST", path, reference=BUSYBOX)

    assert (refused.status, refused.reason) == (500, refusal)


@pytest.mark.parametrize(
    ("reference", "architecture", "line"),
    [
        ("python:3.13-slim", "amd64", "Detected container architecture: amd64"),
        (BUSYBOX, "amd64", "Falling back to amd64."),
        ("arm64v8/busybox:1.36", "amd64", "Falling back to amd64."),
    ],
)
async def test_the_architecture_is_that_of_the_shell_in_a_known_system(
    client: Client, reference: str, architecture: str, line: str
) -> None:
    lines = await _guest(client, reference)

    assert ((await _config(client))["arch"], line in lines) == (architecture, True)


async def test_an_image_for_another_machine_is_told_by_a_known_system_and_does_not_start(
    make_client: MakeClient,
) -> None:
    foreign = dataclasses.replace(REGISTRIES[0].images[-1], os_type="debian")
    client = await make_client(registries=(Registry(host="docker.io", images=(foreign,)),))
    await _guest(client, "arm64v8/busybox:1.36")

    started = await client.run("POST", f"{GUEST}/status/start")

    assert (await _config(client))["arch"] == "arm64"
    assert started.exit_status == "startup for container '100' failed"


async def test_a_clone_keeps_what_the_image_set(client: Client) -> None:
    await _guest(client, "registry.k8s.io/pause:3.10")
    await client.run("POST", f"{GUEST}/clone", newid=101, full=1)

    source, copy = await _config(client), await _config(client, 101)

    kept = ("entrypoint", "cmode", "lxc", "env")
    assert [copy[name] for name in kept] == [source[name] for name in kept]
    assert (await client.run("POST", "/nodes/pve/lxc/101/status/start")).exit_status == "OK"


async def test_what_a_guest_without_a_shell_can_start(client: Client) -> None:
    lines = await _guest(client, "registry.k8s.io/pause:3.10")
    own = await client.run("POST", f"{GUEST}/status/start")
    await client.run("POST", f"{GUEST}/status/stop")

    await client.call("PUT", f"{GUEST}/config", cmode="shell", entrypoint="/bin/sh")
    other = await client.run("POST", f"{GUEST}/status/start")

    assert "/etc/os-release file not found and autodetection failed" in " ".join(lines)
    assert own.exit_status == "OK"
    assert other.exit_status == "startup for container '100' failed"


async def test_a_program_that_ends_at_once_is_a_failed_start(client: Client) -> None:
    await _guest(client, "hello-world:latest")

    started = await client.run("POST", f"{GUEST}/status/start")

    assert started.exit_status == "unable to get PID for CT 100 (not running?)"
    status = await client.call("GET", f"{GUEST}/status/current")
    assert status.data["status"] == "stopped"


async def test_an_address_that_nobody_has_is_refused_a_name_is_not_found(client: Client) -> None:
    nobody = await client.run("POST", PULL, reference="192.0.2.9:5000/web:1")
    unknown = await client.run("POST", PULL, reference="nosuch.test/web:1")

    assert "dial tcp 192.0.2.9:5000: connect: connection refused" in nobody.lines[0]
    assert "lookup nosuch.test on" in unknown.lines[0]
