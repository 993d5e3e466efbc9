"""A process that dies at any write or call of a pause or a wake loses and makes nothing."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.support.dying import WHEN, come_round, die_at, either_database
from tests.support.installation import Installation, World, running
from tests.support.pausing import SLOWER, metered, pausing_catalogue

from pve402.domain import lease, mark, power

__all__ = ["pausing_catalogue"]

MS = timedelta(milliseconds=1)
PAUSING = [
    *("begin 1", "single 1", "single 2", "begin 2", "single 3"),
    *(r"GET .*/config$ 1", r"GET .*/status/current$ 1", r"POST .*/status/shutdown$ 1"),
    *(r"GET .*/tasks/.* 1", r"GET .*/status/current$ 2", r"PUT .*/config$ 1"),
]
WAKING = [
    *("begin 1", "single 1", "single 2", "single 3"),
    *(r"GET .*/config$ 1", r"PUT .*/config$ 1", r"GET .*/status/current$ 1"),
    *(r"POST .*/status/start$ 1", r"GET .*/tasks/.* 1"),
]


@pytest.mark.parametrize("when", WHEN)
@either_database(PAUSING)
async def test_a_pause_survives_a_crash(
    database_url: str, world: World, pausing_catalogue: Path, point: str, when: str
) -> None:
    async with running(database_url, *world, pve402_catalogue=pausing_catalogue) as first:
        row = (await first.lease()).lease
        await die_at(first, point, when, first.leases.pause(row))

    async with running(database_url, *world, pve402_catalogue=pausing_catalogue) as second:
        await come_round(second)
        now = await second.leases.find(row.lease_id)

        check(second, row, now)
        if not is_poll(point):
            assert (now.paused_at is None) is ((point, when) == ("begin 1", "before"))


@pytest.mark.parametrize("when", WHEN)
@either_database(WAKING)
async def test_a_wake_survives_a_crash(
    database_url: str, world: World, pausing_catalogue: Path, point: str, when: str
) -> None:
    async with running(database_url, *world, pve402_catalogue=pausing_catalogue) as first:
        row = (await first.lease()).lease
        paused = await first.leases.pause(row)
        first.pass_time(1800)
        await die_at(first, point, when, first.leases.start(paused))

    async with running(database_url, *world, pve402_catalogue=pausing_catalogue) as second:
        second.pass_time(1800)
        await come_round(second)
        now = await second.leases.find(row.lease_id)

        check(second, row, now, since=paused.paused_at)
        if not is_poll(point):
            assert (now.paused_at is not None) is ((point, when) == ("begin 1", "before"))


def is_poll(point: str) -> bool:
    """Whether it may be the worker's look at the table, which comes at any time."""
    return point.startswith("single")


def check(
    shop: Installation, sold: lease.Lease, now: lease.Lease, *, since: datetime | None = None
) -> None:
    """Guest, description and balance follow the row, and no millisecond is lost or made."""
    assert sold.expires_at is not None
    assert now.expires_at is not None
    assert shop.runs(now.vmid) is (now.wanted is power.Wanted.RUNNING) is (now.paused_at is None)
    assert told(shop, now).metered == metered(now)
    since = now.paused_at or since
    until = now.expires_at if now.paused_at is not None else metered(now).metered_at
    slept = timedelta(0) if since is None else until - since
    lost = sold.expires_at + slept - slept / SLOWER - now.expires_at
    assert timedelta(0) <= lost < MS


def told(shop: Installation, row: lease.Lease) -> mark.GuestRecord:
    """What the description of a lease's guest tells."""
    text = shop.proxmox.world.guests[row.vmid].config.text("description")
    record = shop.parts.machines.read_description(text)
    assert record is not None
    return record
