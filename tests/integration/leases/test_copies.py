"""Copies of a lease's guest: made whole for another lease, or not made at all."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support import images as support
from tests.support import snapshots as snapshot_support
from tests.support.images import image_proxmox, image_world
from tests.support.installation import Installation, World, running, simulated_proxmox

from pve402.domain import lease, making
from pve402.leases import clones, deals, moves, reservation, workflow
from pve402.proxmox import errors as pve
from pve402.storage import lease_rows
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.options import StorageOptions

__all__ = ["image_proxmox", "image_world"]

SIZE = lease.Size(cores=1, memory_mb=512, disk_gb=4)
SNAPSHOT = "before"
POINTS = [
    *(rf"GET .*/config$ {number}" for number in (1, 2, 3, 4)),
    *(r"POST .*/clone$ 1", r"GET .*/tasks/.*vzclone.* 1", r"PUT .*/config$ 1"),
    *(rf"GET .*/status/current$ {number}" for number in (1, 2)),
]


@pytest.fixture
async def shop(tmp_path: Path, image_world: World) -> AsyncIterator[Installation]:
    """A running installation whose storage links clones and takes snapshots."""
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *image_world, pve402_snapshots=2) as made:
        yield made


async def source_of(shop: Installation, **changes: Any) -> lease.Lease:
    """The lease of a running guest with a snapshot."""
    answer = await shop.lease(size=SIZE, hostname="source", **changes)
    row = await shop.leases.find(answer.lease.lease_id)
    if any(one.options.snapshots for one in shop.proxmox.world.storages):
        await shop.leases.snapshots.take(row, SNAPSHOT)
        await shop.settled_down()
    return await shop.leases.find(row.lease_id)


async def reserved(shop: Installation, source: lease.Lease) -> lease.Lease:
    """A new lease beside another one, whose guest is to be made."""
    selling = shop.leases.catalogue
    how = making.of_sku(selling, selling.skus[source.sku])
    wanted = lease.made_again(source).evolve(hostname="copy", expires_at=None)
    rooms = await shop.parts.view.rooms()
    async with shop.parts.db.begin() as tx:
        return await reservation.reserve(
            shop.parts.db, tx, wanted, shop.parts.lease_options, rooms=rooms, how=how
        )


async def copy(
    shop: Installation,
    row: lease.Lease,
    source: lease.Lease,
    *,
    snapshot: str | None = None,
    is_linked: bool = False,
) -> lease.Lease | None:
    """Have a lease's guest made as a copy; a refusal is returned as None."""

    async def move(change: deals.Move) -> lease.Lease:
        async with shop.parts.db.begin() as tx:
            now = await lease_rows.get(tx, row.lease_id)
            assert now is not None
            return await change(tx, now)

    origin = shop.parts.cloning.guest_of(source.lease_id, snapshot=snapshot, is_linked=is_linked)
    ends = await shop.parts.db.time() + timedelta(hours=1)
    async with shop.parts.db.read() as tx:
        now = await lease_rows.get(tx, row.lease_id) or row
    return await shop.parts.cloning.make(now, ends, move, origin)


async def snapshot_name(shop: Installation) -> str:
    """The name that Proxmox knows the snapshot by."""
    (one,) = await snapshot_support.rows(shop)
    return one.pve_name


def check_whole(shop: Installation, row: lease.Lease, source: lease.Lease) -> None:
    """The copy is its own lease's in everything but its disk, and it is down."""
    options, before = support.options_of(shop, row.vmid), support.options_of(shop, source.vmid)
    record = shop.parts.machines.read_description(options["description"])
    assert record is not None
    assert record.lease_id == row.lease_id
    assert source.lease_id not in str(options)
    assert row.lease_id in options["tags"]
    assert (options["hostname"], options["memory"], options["cores"]) == ("copy", 512, 1)
    assert "size=4G" in options["rootfs"]
    assert hardware_address(options) != hardware_address(before)
    assert not shop.runs(row.vmid)


def hardware_address(options: dict[str, Any]) -> str:
    """The address of a guest's card."""
    (found,) = (part for part in options["net0"].split(",") if part.startswith("hwaddr="))
    return str(found)


@pytest.mark.parametrize("is_linked", [True, False])
async def test_a_snapshot_of_a_running_guest_is_copied(shop: Installation, is_linked: bool) -> None:
    source = await source_of(shop)
    row = await reserved(shop, source)

    found = await copy(shop, row, source, snapshot=await snapshot_name(shop), is_linked=is_linked)

    assert found is not None
    assert found.base == source.lease_id
    check_whole(shop, found, source)
    assert shop.runs(source.vmid)


async def test_a_guest_that_is_down_is_copied_where_nothing_else_can_be(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with (
        simulated_proxmox(storage=StorageOptions(snapshots=False)) as proxmox,
        running(url, proxmox, chain, facilitator) as shop,
    ):
        source = await source_of(shop)
        row = await reserved(shop, source)
        assert await copy(shop, row, source) is None  # it runs
        await shop.leases.stop(source)
        await shop.settled_down()

        found = await copy(shop, row, source)

        assert found is not None
        check_whole(shop, found, source)
        assert not shop.runs(source.vmid)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tags", "pve402-test;lease-of-somebody"),
        ("description", "somebody's"),
        ("mp0", "local:subvol-7-disk-0,mp=/data,size=1G"),
        ("hookscript", "local:snippets/hook.sh"),
        ("net1", "name=eth1,bridge=vmbr0"),
        ("template", 1),
        ("rootfs", "local:100/vm-100-disk-0.raw,size=9G"),
    ],
)
async def test_what_is_not_the_leases_own_guest_is_not_copied(
    shop: Installation, name: str, value: Any
) -> None:
    source = await source_of(shop)
    row = await reserved(shop, source)
    calls = shop.record_proxmox_calls()
    config = shop.proxmox.world.guests[source.vmid].config
    pve_name = await snapshot_name(shop)
    config.options[name] = value
    if name != "description":  # which is the snapshot's own
        config.snapshots[pve_name][name] = value

    assert await copy(shop, row, source, snapshot=pve_name) is None

    assert not [call for call in calls if call.endswith("/clone")]
    now = await shop.leases_now()
    assert next(one for one in now if one.lease_id == row.lease_id).base is None


@pytest.mark.parametrize("status", ["stopping", "deleting", "ended"])
async def test_a_lease_that_ended_is_not_copied(shop: Installation, status: str) -> None:
    source = await source_of(shop)
    row = await reserved(shop, source)
    async with shop.parts.db.begin() as tx:
        values = {"status": status, "due_at": None}
        table = lease_rows._leases
        await tx.execute(table.update().where(table.c.lease_id == source.lease_id).values(**values))

    assert await copy(shop, row, source, snapshot=await snapshot_name(shop)) is None


async def test_while_the_source_is_locked_its_copy_waits(shop: Installation) -> None:
    source = await source_of(shop)
    row = await reserved(shop, source)
    name = await snapshot_name(shop)
    config = shop.proxmox.world.guests[source.vmid].config
    config.options["lock"] = "disk"

    pauses = []
    for _ in range(40):
        with pytest.raises(workflow.RetryLater) as waits:
            await copy(shop, row, source, snapshot=name)
        pauses.append(waits.value.after_seconds or 0)
    assert pauses[0] < 1 < workflow.SELDOM_SECONDS == pauses[-1]
    del config.options["lock"]

    assert await copy(shop, row, source, snapshot=name) is not None


async def test_an_unfinished_copy_is_nobodys_guest(shop: Installation) -> None:
    source = await source_of(shop)
    row = await reserved(shop, source)
    shop.fail_call(r"PUT .*/config$")

    with pytest.raises(pve.ProxmoxError):
        await copy(shop, row, source, snapshot=await snapshot_name(shop))

    now = await shop.leases.find(source.lease_id)
    (left,) = [one for one in await shop.leases_now() if one.lease_id == row.lease_id]
    assert await shop.parts.machines.look(left) is clones.Sight.UNFINISHED
    assert await shop.parts.machines.look(now) is clones.Sight.RUNNING
    assert source.lease_id in support.options_of(shop, left.vmid)["tags"]
    with pytest.raises(pve.GuestMissing):
        await shop.parts.machines.ensure_running(left)
    await unwind(shop, left)
    assert shop.proxmox.world.guests.keys() == {source.vmid}
    assert await support.unaccounted(shop) == []


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("point", POINTS)
async def test_a_copy_survives_a_crash(
    tmp_path: Path, image_world: World, point: str, when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *image_world, pve402_snapshots=2) as first:
        source = await source_of(first)
        row = await reserved(first, source)
        name = await snapshot_name(first)
        copying = copy(first, row, source, snapshot=name)
        assert await support.die_at(first, point, when, copying)

    async with running(url, *image_world, pve402_snapshots=2) as second:
        started = support.starts(second)
        found = await until_whole(second, row, source, name)

        check_whole(second, found, source)
        assert started == []
        assert second.runs(source.vmid)
        await unwind(second, found)
        assert second.proxmox.world.guests.keys() == {source.vmid}
        assert await support.unaccounted(second) == []


async def until_whole(
    shop: Installation, row: lease.Lease, source: lease.Lease, name: str
) -> lease.Lease:
    """Go on with a copy, as a worker does."""
    for _ in range(30):
        try:
            found = await copy(shop, row, source, snapshot=name)
        except workflow.RetryLater:
            shop.pass_time(10)
            continue
        assert found is not None
        return found
    raise TimeoutError("the copy is not made")


async def unwind(shop: Installation, row: lease.Lease) -> None:
    """Give a lease up, and wait until its guest is gone."""
    async with shop.parts.db.begin() as tx:
        now = await lease_rows.get(tx, row.lease_id)
        assert now is not None
        await moves.unwind(shop.parts.db, tx, now, "create_failed", "a test")
    for seconds in (0, 100):
        shop.pass_time(seconds)
        await shop.settled_down()
