"""Changes of a configuration: at once, pending, refused."""

from typing import Any

import pytest

from pve402_devnet.pve import (
    SimulatorOptions,
    changes,
    cluster,
    config,
    console,
    errors,
    runtime,
    storage,
)


@pytest.fixture
async def world() -> cluster.Cluster:
    return cluster.Cluster(SimulatorOptions(), runtime.NullRuntime(), console.NullTerminal())


@pytest.fixture
def guest(world: cluster.Cluster) -> cluster.Guest:
    conf = config.GuestConfig(
        options={"memory": 128, "cmode": "shell", "rootfs": "local:1/vm-1-disk-0.raw,size=1G"}
    )
    made = cluster.Guest(vmid=100, node="pve", config=conf, created_at=0)
    world.guests[100] = made
    return made


def update(
    world: cluster.Cluster, guest: cluster.Guest, *, running: bool = False, **wanted: Any
) -> dict[str, str]:
    delete = wanted.pop("delete", ())
    revert = wanted.pop("revert", ())
    return changes.update(
        world, guest, wanted=wanted, delete=delete, revert=revert, running=running
    )


async def test_a_stopped_guest_takes_every_change_at_once(
    world: cluster.Cluster, guest: cluster.Guest
) -> None:
    assert update(world, guest, cmode="tty", memory=256) == {}

    assert guest.config.options["cmode"] == "tty"
    assert guest.config.pending == {}


async def test_a_running_guest_keeps_some_for_its_next_start(
    world: cluster.Cluster, guest: cluster.Guest
) -> None:
    update(world, guest, running=True, cmode="tty", memory=256, hostname="new")

    assert (guest.config.options["memory"], guest.config.options["hostname"]) == (256, "new")
    assert guest.config.pending == {"cmode": "tty"}
    changes.apply_all(world, guest)
    assert guest.config.options["cmode"] == "tty"


async def test_setting_the_old_value_again_drops_the_pending_one(
    world: cluster.Cluster, guest: cluster.Guest
) -> None:
    update(world, guest, running=True, cmode="tty")
    update(world, guest, running=True, cmode="shell")

    assert guest.config.pending == {}


async def test_a_pending_change_can_be_reverted(
    world: cluster.Cluster, guest: cluster.Guest
) -> None:
    update(world, guest, running=True, cmode="tty", delete=["arch"])
    update(world, guest, running=True, revert=["cmode"])

    assert guest.config.merged()["cmode"] == "shell"


async def test_a_deletion_waits_too(world: cluster.Cluster, guest: cluster.Guest) -> None:
    update(world, guest, running=True, delete=["cmode"])

    assert guest.config.options["cmode"] == "shell"
    assert "cmode" not in guest.config.merged()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"delete": ["rootfs"]}, "unable to delete required option 'rootfs'"),
        ({"delete": ["memory"]}, "unable to delete required option 'memory'"),
        ({"unprivileged": 1}, "unable to modify read-only option: 'unprivileged'"),
        ({"mp0": "nosuch:1,mp=/x"}, "storage 'nosuch' does not exist"),
        ({"net0": "name=e,bridge=vmbr9,mtu=1400"}, "bridge 'vmbr9' does not exist"),
        (
            {"net0": "name=e,bridge=vmbr0,mtu=9000"},
            "net0: MTU size '9000' is bigger than bridge MTU '1500'",
        ),
    ],
)
async def test_what_is_never_possible(
    world: cluster.Cluster, guest: cluster.Guest, change: dict[str, Any], text: str
) -> None:
    with pytest.raises(errors.Failure) as refused:
        update(world, guest, **change)

    assert refused.value.text == text


async def test_a_network_gets_an_address_and_keeps_a_given_one(
    world: cluster.Cluster, guest: cluster.Guest
) -> None:
    update(world, guest, net0="name=eth0,bridge=vmbr0", net1="name=eth1,hwaddr=02:00:00:00:00:01")

    networks = guest.config.networks()
    assert networks["net0"]["hwaddr"].startswith("BC:24:11:")
    assert networks["net1"]["hwaddr"] == "02:00:00:00:00:01"


async def test_a_removed_mount_point_stays_as_an_unused_volume(
    world: cluster.Cluster, guest: cluster.Guest
) -> None:
    update(world, guest, mp0="local:1,mp=/data")
    update(world, guest, delete=["mp0"])
    assert guest.config.options["unused0"] == "local:100/vm-100-disk-0.raw"

    update(world, guest, delete=["unused0"])
    local = world.storages.get("local")
    assert isinstance(local, storage.Storage)
    assert local.volumes == {}


@pytest.mark.parametrize(
    ("tags", "stored"), [("Zeta;alpha", "alpha;zeta"), ("b a,B", "a;b"), ("", " ")]
)
async def test_tags_are_folded_sorted_and_single(
    world: cluster.Cluster, guest: cluster.Guest, tags: str, stored: str
) -> None:
    update(world, guest, tags=tags)

    assert guest.config.options["tags"] == stored


async def test_protection_covers_volumes(world: cluster.Cluster, guest: cluster.Guest) -> None:
    guest.config.put("protection", 1)

    with pytest.raises(errors.Failure, match="can't update CT 100 drive 'mp0'"):
        update(world, guest, mp0="local:1,mp=/x")


async def test_a_guest_is_described_to_its_runtime(guest: cluster.Guest) -> None:
    guest.config.options |= {
        "net0": "name=eth0,bridge=vmbr0,ip=10.0.0.5/24,ip6=auto",
        "env": "A=b=c",
        "cores": 2,
    }
    guest.password = "hunter2!"

    spec = cluster.guest_spec(guest)

    assert (spec.memory_mb, spec.cores, spec.disk_gb) == (128, 2, 1.0)
    assert (spec.addresses, spec.environment) == (("10.0.0.5/24",), (("A", "b=c"),))
    assert "hunter2!" not in repr(spec)
