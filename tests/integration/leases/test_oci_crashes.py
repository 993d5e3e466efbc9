"""A process that dies at any call or write about an OCI image: another brings all to an end.

Nothing is pulled twice at once, no trial stays, and no guest is started that would run its image's
own program.
"""

from pathlib import Path

import pytest
from tests.support import dying, images, oci
from tests.support.installation import Installation, World

from pve402.domain import lease, oci_files, order
from pve402.leases import oci_guests
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.faults import FaultKind

# Who dies at a read, or before a call, leaves what the write or the call before it left.
PULLING = [(r"POST .*/oci-registry-pull$ 1", "after"), (r"GET .*ociregistrypull.* 1", "before")]
MAKING = [
    (r"POST .*/lxc$ 1", "after"),
    (r"GET .*/lxc/\d+/config$ 1", "before"),
    (r"PUT .*/lxc/\d+/config$ 1", "after"),
    (r"POST .*/status/start$ 1", "after"),
]
TRYING = [*MAKING, (r"DELETE .*/lxc/ 1", "after")]
WRITING = [(f"{way} {number}", "after") for way in dying.WRITES for number in (1, 2, 3, 4)]


async def _comes_to_an_end(tmp_path: Path, world: World) -> Installation:
    """Start another process, and check that it sells the image and leaves nothing behind."""
    async with oci.selling(tmp_path, world) as second:
        started = images.starts(second)
        await dying.come_round(second)
        (file,) = await oci.tried(second)
        await dying.come_round(second)

        assert file.verdict == oci_files.PASSED
        assert second.proxmox.world.guests == {}
        assert await images.unaccounted(second) == []
        assert all(oci.lives(options) for _, options in started)
        return second


@pytest.mark.parametrize(("point", "when"), [*PULLING, *WRITING])
async def test_a_pull_survives_a_crash(
    tmp_path: Path, oci_world: World, point: str, when: str
) -> None:
    oci.catalogue(tmp_path)
    async with oci.selling(tmp_path, oci_world) as first:
        await dying.die_at(first, point, when, oci.tried(first))

    second = await _comes_to_an_end(tmp_path, oci_world)

    assert oci.pulls(second) == 1


@pytest.mark.parametrize(("point", "when"), TRYING)
async def test_a_trial_survives_a_crash(
    tmp_path: Path, oci_world: World, point: str, when: str
) -> None:
    oci.catalogue(tmp_path)
    async with oci.selling(tmp_path, oci_world) as first:
        started = images.starts(first)
        await dying.die_at(first, point, when, oci.tried(first))
        assert all(oci.lives(options) for _, options in started)

    await _comes_to_an_end(tmp_path, oci_world)


@pytest.mark.parametrize(("point", "when"), MAKING)
async def test_a_creation_survives_a_crash(
    tmp_path: Path, oci_world: World, point: str, when: str
) -> None:
    oci.catalogue(tmp_path)
    async with oci.selling(tmp_path, oci_world) as first:
        await oci.tried(first)
        started = images.starts(first)
        await dying.die_at(first, point, when, first.lease(**oci.WISH))

    async with oci.selling(tmp_path, oci_world) as second:
        later = images.starts(second)
        await oci.tried(second)
        await dying.come_round(second)

        (bought,) = await second.orders_now()
        (row,) = [one for one in await second.leases_now() if one.lease_id == bought.lease_id]
        assert all(oci.lives(options) for _, options in [*started, *later])
        assert await images.unaccounted(second) == []
        assert (bought.status, row.status) in {
            (order.OrderStatus.SETTLED, lease.LeaseStatus.ACTIVE),
            (order.OrderStatus.REFUSED, lease.LeaseStatus.FAILED),
        }
        assert second.runs(row.vmid) == bought.is_paid


@pytest.mark.parametrize("executed", [False, True])
async def test_a_pull_without_an_answer_is_not_sent_twice_at_once(
    tmp_path: Path, oci_world: World, executed: bool
) -> None:
    oci.catalogue(tmp_path)
    async with oci.selling(tmp_path, oci_world) as shop:
        shop.fail_call(r"POST .*/oci-registry-pull$", FaultKind.DROP, executed=executed)
        shop.parts.lease_worker.wake()
        await oci.until(shop, lambda row: row.state is oci_files.State.PULLING)
        shop.pass_time(20)
        if not executed:
            await oci.failed(shop, "outcome_unknown")
            shop.pass_time(60)

        await oci.tried(shop)

        assert oci.pulls(shop) == 1


async def test_a_linked_clone_of_a_prepared_image_lives(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> None:
    oci.catalogue(tmp_path, image="prepare = true")
    linking = oci.proxmox(type="btrfs", snapshots=True)
    async with (
        linking as cluster,
        oci.selling(tmp_path, (cluster, chain, facilitator)) as shop,
    ):
        started = images.starts(shop)
        await oci.tried(shop)
        (base,) = await images.prepared(shop)
        row = (await shop.lease(**oci.WISH)).lease

        options = images.options_of(shop, row.vmid)
        assert row.base == base.lease_id
        assert [vmid for vmid, _ in started].count(base.vmid) == 0
        assert all(oci.lives(one) for _, one in started)
        assert options["entrypoint"] == oci_guests.ENTRYPOINT
        assert "host-managed=1" in options["net0"]
        assert images.options_of(shop, base.vmid)["template"] == 1
        assert await images.unaccounted(shop) == []
