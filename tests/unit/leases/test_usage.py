"""What tenants are told of the past of their guests, and of nobody else's."""

import asyncio
import dataclasses
from datetime import timedelta

import pytest
from tests.support import fake_leases

from pve402.domain import errors, lease
from pve402.leases import usage, views
from pve402.proxmox import errors as pve
from pve402.proxmox import past_figures

OWNER = "eip155:84532:0x" + "a" * 40
ROW = fake_leases.make_lease(OWNER)
BEGAN = int(ROW.created_at.timestamp())


def figures(began_at: int, seconds: int = 60) -> past_figures.Figures:
    names = past_figures.Figures.__dataclass_fields__
    times = {"began_at": began_at, "ended_at": began_at + seconds}
    return past_figures.Figures(**{**dict.fromkeys(names, 0), **times})


class Machines:
    """Shows a guest and its figures; stands for the views and for Proxmox VE."""

    def __init__(self, *found: past_figures.Figures) -> None:
        self.found = found
        self.asked: list[object] = []
        self.failure: Exception | None = None
        self.has_guest, self.seen = True, True

    async def of(self, rows):
        (row,) = rows
        guest = fake_leases.make_guest(row) if self.has_guest else None
        return [views.LeaseView(lease=row, guest=guest, seen=self.seen)]

    async def past_figures(self, ref, frame):
        self.asked.append((ref.node, ref.vmid, frame))
        if self.failure is not None:
            raise self.failure
        return self.found


def history(machines: Machines, clock=lambda: 0.0) -> usage.UsageHistory:
    return usage.UsageHistory(machines, machines, clock=clock)


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (figures(BEGAN), True),
        (figures(BEGAN + 60), True),
        (figures(BEGAN - 1), False),
        (figures(BEGAN - 3600), False),
        (figures(BEGAN - 1000, seconds=1800), False),
    ],
)
async def test_only_what_began_with_the_lease_or_later_is_told(found, told):
    shown = await history(Machines(found)).of(ROW, "hour")

    assert list(shown) == ([found] if told else [])


@pytest.mark.parametrize(
    ("frame", "length", "count"),
    [("hour", 60, 60), ("day", 60, 288), ("week", 1800, 336), ("month", 1800, 360)],
)
async def test_a_chart_gets_few_enough_points(frame, length, count):
    midnight = -(-BEGAN // 86400) * 86400
    all_of_it = {"hour": 60, "week": 336}.get(frame, 1440)
    found = [figures(midnight + n * length, seconds=length) for n in range(all_of_it)]

    told = await history(Machines(*found)).of(ROW, frame)

    assert len(told) == count
    assert {one.ended_at - one.began_at for one in told} == {usage.STEP_SECONDS[frame]}


async def test_intervals_together_have_the_mean_of_what_is_known():
    first = dataclasses.replace(figures(BEGAN), cpu_fraction=0.1, memory_used=10, disk_used=None)
    second = dataclasses.replace(first, memory_used=21, cpu_fraction=None)
    third = dataclasses.replace(figures(BEGAN + 60, seconds=120), cpu_fraction=0.3, disk_used=None)

    (told,) = await history(Machines(first, second, third)).of(ROW, "day")

    assert (told.began_at, told.ended_at) == (BEGAN, BEGAN + 180)
    assert told.cpu_fraction == pytest.approx(0.2)
    assert (told.memory_used, told.disk_used) == (10, None)


async def test_nothing_from_before_the_lease_is_in_a_mean():
    others = dataclasses.replace(figures(BEGAN - 60), memory_used=2**30)

    (told,) = await history(Machines(others, figures(BEGAN))).of(ROW, "month")

    assert (told.began_at, told.memory_used) == (BEGAN, 0)


async def test_a_guest_made_again_has_no_past_from_before():
    row = ROW.evolve(create_sent_at=ROW.created_at + timedelta(hours=1))

    shown = await history(Machines(figures(BEGAN), figures(BEGAN + 3600))).of(row, "hour")

    assert [one.began_at for one in shown] == [BEGAN + 3600]


async def test_a_guest_of_the_warm_pool_has_no_past_from_before_its_sale():
    row = ROW.evolve(create_sent_at=ROW.created_at - timedelta(hours=1))

    shown = await history(Machines(figures(BEGAN - 600), figures(BEGAN))).of(row, "hour")

    assert [one.began_at for one in shown] == [BEGAN]


@pytest.mark.parametrize("status", sorted(lease.OVER, key=str))
async def test_a_lease_that_is_over_has_nothing_and_asks_nothing(status):
    machines = Machines(figures(BEGAN))

    assert list(await history(machines).of(ROW.evolve(status=status), "hour")) == []
    assert machines.asked == []


async def test_the_figures_of_a_guest_that_is_not_ours_are_not_asked_for():
    machines = Machines(figures(BEGAN))
    machines.has_guest = False

    assert list(await history(machines).of(ROW, "hour")) == []
    assert machines.asked == []


async def test_a_new_guest_has_no_figures():
    machines = Machines()
    machines.failure = pve.FiguresMissing("RRD error")

    assert list(await history(machines).of(ROW, "day")) == []


@pytest.mark.parametrize("failure", [pve.Unreachable(), pve.ProxmoxFault("RRD error")])
async def test_a_proxmox_that_does_not_tell_is_told(failure):
    machines = Machines(figures(BEGAN))
    machines.failure = failure

    with pytest.raises(errors.ProxmoxUnavailable, match="usage cannot be read"):
        await history(machines).of(ROW, "hour")


async def test_a_proxmox_that_is_not_seen_is_told():
    machines = Machines(figures(BEGAN))
    machines.has_guest = machines.seen = False

    with pytest.raises(errors.ProxmoxUnavailable):
        await history(machines).of(ROW, "hour")


async def test_an_answer_is_kept_for_some_seconds_for_its_lease_and_time_frame():
    machines, now = Machines(figures(BEGAN)), 0.0
    told = history(machines, clock=lambda: now)
    for frame in ("hour", "hour", "day"):
        await told.of(ROW, frame)
    now = usage.FRESH_SECONDS
    await told.of(ROW, "hour")

    assert [frame for _, _, frame in machines.asked] == ["hour", "day", "hour"]


async def test_few_answers_are_kept():
    machines = Machines(figures(BEGAN))
    told = history(machines)
    rows = [fake_leases.make_lease(OWNER, vmid=10000 + n) for n in range(usage.MOST_REMEMBERED + 1)]
    for row in (*rows, rows[-1], rows[0]):
        await told.of(row, "hour")

    assert len(machines.asked) == len(rows) + 1


async def test_a_crowd_asks_proxmox_once():
    machines = Machines(figures(BEGAN))
    asked = machines.past_figures

    async def slow(ref, frame):
        await asyncio.sleep(0)
        return await asked(ref, frame)

    machines.past_figures = slow
    past = history(machines)

    told = await asyncio.gather(*(past.of(ROW, "hour") for _ in range(50)))

    assert len(machines.asked) == 1
    assert {len(each) for each in told} == {1}
