"""A process that dies at any call of a fork: another one delivers all copies, or none for nothing.

No guest ever runs with another lease's mark, card or size, and no snapshot stays behind.
"""

from pathlib import Path

import pytest
from tests.support import forks as support
from tests.support import images as image_support
from tests.support.images import image_proxmox, image_world
from tests.support.installation import Installation, World, running

from pve402.domain import lease, order

__all__ = ["image_proxmox", "image_world"]

WHEN = ["before", "after"]
POINTS = [
    *(r"POST .*/snapshot$ 1", r"GET .*/snapshot$ 1", r"GET .*/tasks/.*vzsnapshot.* 1"),
    *(r"POST .*/clone$ 1", r"POST .*/clone$ 2", r"GET .*/tasks/.*vzclone.* 2"),
    *(rf"PUT .*/lxc/\d+/config$ {number}" for number in (1, 2, 3)),  # the third: its card
    *(r"POST .*/status/start$ 1", r"POST .*/status/start$ 2", r"GET .*/tasks/.*vzstart.* 2"),
    *(r"DELETE .*/snapshot/ 1", r"GET .*/tasks/.*vzdelsnapshot.* 1"),
]


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize("point", POINTS)
async def test_a_fork_survives_a_crash(
    tmp_path: Path, image_world: World, point: str, when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *image_world, **support.SETTINGS) as first:
        source = await support.source_of(first)
        earned, cost = first.earned, support.price_of(first, support.wish(source, 2))
        started = image_support.starts(first)
        assert await image_support.die_at(first, point, when, _all_of(first, source))

    async with running(url, *image_world, **support.SETTINGS) as second:
        started_later = image_support.starts(second)
        await image_support.come_round(second)
        await image_support.come_round(second)

        await support.check_all(second, [*started, *started_later])
        assert await support.nothing_held(second)
        assert second.runs(source.vmid)
        await _check_outcome(second, earned, cost, first)


async def _all_of(shop: Installation, source: lease.Lease) -> None:
    """A fork, and what is tidied up after it."""
    await support.fork(shop, source, 2)
    await shop.settled_down()
    await support.nothing_held(shop)


async def _check_outcome(shop: Installation, earned: int, cost: int, before: Installation) -> None:
    """All copies are paid for and run, or none is there."""
    rows = {row.lease_id: row for row in await shop.leases_now()}
    made = [one for one in await shop.orders_now() if rows[one.lease_id or ""].forked_from]
    assert len(made) == 2
    statuses = {one.status for one in made}
    copies = [rows[one.lease_id or ""] for one in made]
    if statuses == {order.OrderStatus.SETTLED}:
        assert shop.earned - earned == cost
        assert all(row.status is lease.LeaseStatus.ACTIVE for row in copies)
        assert all(shop.runs(row.vmid) and support.marked(shop, row) for row in copies)
        assert all(support.is_connected(shop, row) for row in copies)
        told = [*before.rekey.told, *shop.rekey.told]
        assert {row.lease_id for row in copies} <= {one.lease_id for one, _ in told}
    else:
        assert statuses == {order.OrderStatus.REFUSED}
        assert shop.earned == earned
        assert all(row.status is lease.LeaseStatus.FAILED for row in copies)


@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize(("name", "number"), [("note_paid", 1), ("activate", 1), ("activate", 2)])
async def test_a_fork_survives_a_crash_at_its_payment(
    tmp_path: Path, image_world: World, name: str, number: int, when: str
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *image_world, **support.SETTINGS) as first:
        source = await support.source_of(first)
        earned, cost = first.earned, support.price_of(first, support.wish(source, 2))
        assert await support.die_in(first, name, number, when, _all_of(first, source))

    async with running(url, *image_world, **support.SETTINGS) as second:
        await image_support.come_round(second)
        await image_support.come_round(second)

        await support.check_all(second, [])
        assert await support.nothing_held(second)
        assert second.earned - earned == cost  # it was asked for, so it is looked for on chain
        await _check_outcome(second, earned, cost, first)
