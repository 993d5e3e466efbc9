"""OCI images on sale: pulled, tried, sold, refused with a cause."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import images, installation, oci
from tests.support.installation import Installation, World

from pve402.domain import errors, lease, oci_files
from pve402.domain import oci as oci_reference
from pve402.leases.images import oci_steps, oci_trials
from pve402.proxmox import errors as pve
from pve402.proxmox import storage
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve import runtime

ISOLATED = """
[network.apart]
bridge = "vmbr0"
isolation = "tenant"
default = true
ipv4 = { subnet = "10.7.0.0/24", gateway = "10.7.0.1", ranges = ["10.7.0.10-10.7.0.99"] }
"""


@pytest.fixture
async def shop(tmp_path: Path, oci_world: World) -> AsyncIterator[Installation]:
    """An installation that sells a busybox."""
    oci.catalogue(tmp_path)
    async with oci.selling(tmp_path, oci_world) as made:
        yield made


async def test_an_image_is_pulled_once_tried_once_and_sold(shop: Installation) -> None:
    started = images.starts(shop)

    (file,) = await oci.tried(shop)
    row = (await shop.lease(**oci.WISH)).lease

    trial, sold = started
    options = images.options_of(shop, row.vmid)
    ((offered, _),) = shop.leases.images()
    assert offered.name == oci.WISH["template"]
    assert oci.pulls(shop) == 1
    assert "net0" not in trial[1]
    assert oci.lives(trial[1])
    assert oci.lives(sold[1])
    assert (row.status, row.template) == (lease.LeaseStatus.ACTIVE, oci.BUSYBOX.volume("local"))
    assert "host-managed=1" in options["net0"]
    assert shop.proxmox.world.guests.keys() == {row.vmid}
    assert file.problem is None
    assert await images.unaccounted(shop) == []


async def test_before_it_was_tried_nothing_is_sold(shop: Installation) -> None:
    asked = installation.creation(**oci.WISH)
    sku = asked.check(shop.leases.catalogue)

    with pytest.raises(errors.NoCapacity, match="of this template"):
        await shop.leases.check_room(sku, asked.size, asked.template)
    with pytest.raises(errors.NoCapacity):
        await shop.lease(**oci.WISH)

    assert shop.earned == 0


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"shell_architecture": "arm64"}, "no_shell"),  # Proxmox VE knows no more of it
        ({"shell_architecture": "arm64", "os_type": "debian"}, "wrong_architecture"),
        ({"unpacked_bytes": 3 << 30}, "not_unpacked"),
        ({"shell_architecture": None, "guest": runtime.WITHOUT_SHELL}, "no_shell"),
    ],
)
async def test_an_image_that_cannot_be_sold_is_refused_with_a_cause(
    tmp_path: Path,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
    changes: dict[str, Any],
    verdict: str,
) -> None:
    oci.catalogue(tmp_path)
    async with (
        oci.proxmox(registries=oci.registry(**changes)) as cluster,
        oci.selling(tmp_path, (cluster, chain, facilitator)) as shop,
    ):
        (file,) = await oci.tried(shop, verdict)
        shop.pass_time(3600)
        (again,) = await oci.tried(shop, verdict)

        with pytest.raises(errors.NoCapacity):
            await shop.lease(**oci.WISH)
        assert shop.leases.images() == ()
        assert again == file
        assert file.last_error
        assert shop.proxmox.world.guests == {}
        assert shop.earned == 0


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (oci_trials.Shell(machine="aarch64", user="0"), "wrong_architecture"),
        (oci_trials.Shell(machine="x86_64", user="1000"), "not_root"),
        (oci_trials.Shell(machine="i686", user="0"), "passed"),
        (oci_trials.Shell(machine="", user="0"), "passed"),
    ],
)
async def test_the_shell_says_what_it_runs_on_and_whose_it_is(
    shop: Installation, said: oci_trials.Shell, verdict: str
) -> None:
    shop.shells.said = said

    await oci.tried(shop, verdict)

    assert shop.proxmox.world.guests == {}


async def test_a_shell_that_does_not_answer_is_none(shop: Installation) -> None:
    shop.shells.answers = False

    await oci.tried(shop, "no_shell")

    assert len(shop.shells.asked) == 2


async def test_a_guest_that_ends_by_itself_does_not_live(shop: Installation) -> None:
    world = shop.proxmox.world
    shop.shells.on_ask = lambda row: world.mark_stopped(world.guests[row.vmid])

    (file,) = await oci.tried(shop, "does_not_live")

    assert not file.is_sellable
    assert world.guests == {}


async def test_an_image_whose_own_program_ends_at_once_is_sold(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    oci.catalogue(tmp_path)
    ending = oci.registry(command=("/bin/true",), user=None, stop_signal="SIGQUIT")
    async with (
        oci.proxmox(registries=ending) as cluster,
        oci.selling(tmp_path, (cluster, chain, facilitator)) as shop,
    ):
        await oci.tried(shop)
        row = (await shop.lease(**oci.WISH)).lease

        assert shop.runs(row.vmid)


async def test_a_system_keeps_its_init(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    oci.catalogue(tmp_path)
    system = oci.registry(command=("/sbin/init",))
    async with (
        oci.proxmox(registries=system) as cluster,
        oci.selling(tmp_path, (cluster, chain, facilitator)) as shop,
    ):
        await oci.tried(shop)
        options = images.options_of(shop, (await shop.lease(**oci.WISH)).lease.vmid)

        assert "entrypoint" not in options
        assert "host-managed" not in options["net0"]
        assert options["cmode"] == "shell"


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("docker.io/library/busybox:nosuch", "no_such_image"),
        ("nosuch.test/library/busybox:1.36", "registry_unreachable"),
    ],
)
async def test_a_pull_that_fails_rests_longer_each_time(
    tmp_path: Path, oci_world: World, reference: str, problem: str
) -> None:
    oci.catalogue(tmp_path, oci_reference.Reference.parse(reference))
    async with oci.selling(tmp_path, oci_world) as shop:
        (file,) = await oci.failed(shop, problem)
        shop.pass_time(60)
        again = await oci.until(shop, lambda row: row.failures == 2)
        shop.pass_time(60)
        await asyncio.sleep(0.05)

        assert (file.failures, file.verdict) == (1, None)
        assert again.problem == problem
        assert oci.pulls(shop) == 2


async def test_a_pull_that_does_not_end_is_stopped_and_asked_for_again(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oci_steps, "LOOK_SECONDS", 0.01)
    honest = shop.proxmox.world.latencies
    shop.proxmox.world.latencies = dataclasses.replace(honest, pull=10**6)
    await oci.until(shop, lambda row: row.last_error == "it is being pulled")

    shop.pass_time(oci_files.LONGEST_PULL.total_seconds())
    (stopped,) = await oci.failed(shop, "pull_too_slow")
    shop.proxmox.world.latencies = honest
    shop.pass_time(60)
    (file,) = await oci.tried(shop)

    assert not stopped.is_sellable
    assert not any(task.running for task in shop.proxmox.world.tasks)
    assert (file.problem, oci.pulls(shop)) == (None, 2)


async def test_a_full_storage_is_told_and_asked_again(shop: Installation) -> None:
    disk = shop.proxmox.world.storages.require("local", "pve")
    disk.full = True
    await oci.failed(shop, "storage_full")

    disk.full = False
    shop.pass_time(60)
    (file,) = await oci.tried(shop)

    assert (file.problem, file.failures) == (None, 0)


async def test_a_proxmox_that_is_too_old_is_told(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def old(*_: object) -> None:
        raise pve.CallNotSupported("Method 'POST .../oci-registry-pull' not implemented")

    monkeypatch.setattr(storage.Storages, "pull", old)

    (file,) = await oci.failed(shop, "proxmox_too_old")

    assert file.verdict is None


async def test_a_file_that_the_operator_pulled_is_tried_at_once(shop: Installation) -> None:
    disk = shop.proxmox.world.storages.require("local", "pve")
    disk.full = True
    await oci.failed(shop, "storage_full")
    disk.full = False
    await shop.parts.proxmox.call(
        "POST",
        "/nodes/pve/storage/local/oci-registry-pull",
        {"reference": str(oci.BUSYBOX), "filename": oci.BUSYBOX.file_name.removesuffix(".tar")},
    )
    await shop.parts.nodes_check.look()

    await oci.tried(shop)

    assert oci.pulls(shop) == 2


async def test_another_file_is_tried_before_it_is_sold(shop: Installation) -> None:
    await oci.tried(shop)
    images.touch(shop, oci.BUSYBOX.volume("local"))
    await shop.parts.nodes_check.look()

    with pytest.raises(errors.NoCapacity):
        await shop.lease(**oci.WISH)
    shop.shells.said = oci_trials.Shell(machine="aarch64", user="0")
    await oci.tried(shop, "wrong_architecture")

    assert len(shop.shells.asked) == 2


async def test_a_file_that_is_gone_is_pulled_again(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    await oci.tried(shop)
    # Proxmox VE gives dates in seconds, and this test is done within one.
    monkeypatch.setattr(shop.proxmox.world.clock, "now", lambda: time.time() + 5)
    shop.proxmox.world.storages.require("local", "pve").templates.pop(oci.BUSYBOX.file_name)
    await shop.parts.nodes_check.look()

    await oci.until(shop, lambda _row: oci.pulls(shop) == 2)
    await oci.tried(shop)

    assert len(shop.shells.asked) == 2  # its date is another


async def test_an_image_that_is_sold_no_more_is_forgotten(tmp_path: Path, oci_world: World) -> None:
    oci.catalogue(tmp_path)
    async with oci.selling(tmp_path, oci_world) as shop:
        await oci.tried(shop)
        row = (await shop.lease(**oci.WISH)).lease
    (tmp_path / "catalogue.toml").write_text(images.SHIPPED)

    async with oci.selling(tmp_path, oci_world) as shop:
        await shop.parts.image_keeper.run_once()

        assert await oci.files(shop) == []
        assert shop.runs(row.vmid)


async def test_each_node_has_its_own_file_and_verdict_also_while_it_is_away(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    oci.catalogue(tmp_path)
    async with (
        oci.proxmox("one", "two") as cluster,
        oci.selling(tmp_path, (cluster, chain, facilitator)) as shop,
    ):
        found = await oci.tried(shop)

        assert sorted(file.node for file in found) == ["one", "two"]
        assert sorted(row.node for row in shop.shells.asked) == ["one", "two"]

        await images.take_away(shop, "two")
        await shop.parts.image_keeper.run_once()

        assert {room.node for room in await shop.parts.view.rooms()} == {"one"}
        assert await oci.files(shop) == found

        await images.take_away(shop, "two", for_good=True)
        await shop.parts.image_keeper.run_once()

        assert [file.node for file in await oci.files(shop)] == ["one"]


async def test_a_guest_that_is_not_as_written_is_not_started(shop: Installation) -> None:
    await oci.tried(shop)
    started = images.starts(shop)
    shop.fail_call(r"PUT .*/lxc/\d+/config$", text="Permission check failed (VM.Config.Options)")

    with pytest.raises(errors.ProvisioningFailed):
        await shop.lease(**oci.WISH)
    await shop.settled_down()

    assert started == []
    assert shop.earned == 0
    assert shop.proxmox.world.guests == {}


async def test_an_isolated_guest_of_an_image_starts_with_its_card_down(
    tmp_path: Path, oci_world: World
) -> None:
    oci.catalogue(tmp_path, more=ISOLATED)
    oci_world[0].world.firewalls.cluster.options["enable"] = 1
    async with oci.selling(tmp_path, oci_world) as shop:
        await oci.tried(shop)
        started = images.starts(shop)
        row = (await shop.lease(**oci.WISH)).lease
        shop.pass_time(30)
        await shop.settled_down()

        ((_, options),) = started
        assert {"link_down=1", "host-managed=1"} <= set(options["net0"].split(","))
        card = images.options_of(shop, row.vmid)["net0"].split(",")
        assert "host-managed=1" in card
        assert "link_down=1" not in card
