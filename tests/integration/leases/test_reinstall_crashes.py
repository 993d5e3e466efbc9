"""A process that dies at any call or write of a reinstallation: another one brings it to its end.

No guest ever runs with another card, size, tags or name than its lease has, and each has its row.
"""

import pytest
from tests.support import dying
from tests.support import reinstalls as support
from tests.support.installation import Installation, World, running

from pve402.domain import lease, reinstalls
from pve402_devnet.pve.faults import FaultKind

State = reinstalls.State
CALLS = [
    *(r"POST .*/status/stop$ 1", r"DELETE .*/lxc/\d+$ 1", r"GET .*/tasks/.*vzdestroy.* 1"),
    *(r"POST .*/lxc$ 1", r"GET .*/tasks/.*vzcreate.* 1", r"POST .*/status/start$ 1"),
]
WRITES = [f"begin {number}" for number in range(1, 11)]
"""From the wish to the end: the third gives the guest up, the last has the new one."""


@pytest.mark.parametrize("when", dying.WHEN)
@dying.either_database(CALLS)
async def test_a_reinstallation_survives_a_crash_at_a_call(
    database_url: str, world: World, point: str, when: str
) -> None:
    await survive(database_url, world, point, when)


@dying.either_database(WRITES, on_postgresql=["begin 3", "begin 6", "begin 10"])
async def test_a_reinstallation_survives_a_crash_after_a_write(
    database_url: str, world: World, point: str
) -> None:
    await survive(database_url, world, point, "after")


async def survive(database_url: str, world: World, point: str, when: str) -> None:
    """Reinstall a lease, die, and see that another process brings it to its end."""
    async with running(database_url, *world) as first:
        row = (await first.lease()).lease
        before = support.options(first, row.vmid)
        old = first.proxmox.world.guests[row.vmid]
        await dying.die_at(first, point, when, support.reinstall(first, row))

    async with running(database_url, *world) as second:
        started = support.starts(second)
        await dying.come_round(second)

        made = await support.latest(second)
        assert made.state is State.DONE
        assert second.proxmox.world.guests[row.vmid] is not old
        assert second.runs(row.vmid)
        assert [options for _, options in started if options != before] == []
        assert support.options(second, row.vmid) == before
        assert await support.unaccounted(second) == []
        now = await second.leases.find(row.lease_id)
        assert (now.status, now.hold_order_id) == (lease.LeaseStatus.ACTIVE, None)


@pytest.mark.parametrize("call", [r"DELETE .*/lxc/\d+$", r"POST .*/lxc$"])
@pytest.mark.parametrize("executed", [True, False])
async def test_an_answer_that_is_lost_makes_no_second_guest_and_loses_none(
    installation: Installation, call: str, executed: bool
) -> None:
    shop = installation
    row = (await shop.lease()).lease
    before = support.options(shop, row.vmid)
    shop.fail_call(call, FaultKind.DROP, executed=executed)
    old = shop.proxmox.world.guests[row.vmid]

    begun = support.reinstalling(shop, row)
    await shop.until(lambda now: "broke" in (now.last_error or ""))
    await dying.come_round(shop)
    await begun

    assert (await support.latest(shop)).state is State.DONE
    assert shop.proxmox.world.guests[row.vmid] is not old
    assert support.options(shop, row.vmid) == before
    assert shop.runs(row.vmid)
    assert await support.unaccounted(shop) == []


@dying.either_database([r"POST .*/lxc$ 1", "begin 7"])
async def test_the_end_of_the_lease_waits_for_a_guest_that_may_still_appear(
    database_url: str, world: World, point: str
) -> None:
    async with running(database_url, *world) as first:
        row = (await first.lease()).lease
        await dying.die_at(first, point, "after", support.reinstall(first, row))
        appears = first.proxmox.world.guests.pop(row.vmid, None)

    async with running(database_url, *world) as second:
        await second.leases.end(await second.leases.find(row.lease_id))
        await second.settled_down()
        (waiting,) = await second.leases_now()
        if appears is not None:
            second.proxmox.world.guests[row.vmid] = appears
        await dying.come_round(second)

        (over,) = await second.leases_now()
        assert waiting.status not in lease.OVER
        assert (over.status, over.end_reason) == (lease.LeaseStatus.ENDED, "ended_by_owner")
        assert second.proxmox.world.guests == {}
