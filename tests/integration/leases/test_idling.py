"""A lease that its tenant wants paused once it is idle: what counts as use, and what does not."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.idle_leases import Figures, look, look_for, quiet_figures
from tests.support.installation import Installation, World, running
from tests.support.pausing import either_shop, metered, pausing_catalogue, shop
from tests.support.snapshots import snapshot_proxmox, snapshot_world

from pve402.domain import errors, forks, idling, lease, power
from pve402.guests import open_calls
from pve402.leases import moves
from pve402.storage import fork_rows, happening_rows, snapshot_rows, tables

__all__ = [
    "either_shop",
    "pausing_catalogue",
    "quiet_figures",
    "shop",
    "snapshot_proxmox",
    "snapshot_world",
]

LIMIT = 5  # minutes


async def sold(shop: Installation, **changes: Any) -> lease.Lease:
    """A lease that is paused after five idle minutes."""
    wanted = {"minutes": 600, "idle_pause_minutes": LIMIT, **changes}
    return (await shop.lease(shop.tenant(10**8), **wanted)).lease


async def test_an_idle_lease_is_paused_and_says_why(
    either_shop: Installation, quiet_figures: Figures
) -> None:
    row = await sold(either_shop)
    quiet_figures.of(either_shop)

    early = await look_for(either_shop, LIMIT)
    paused = await look_for(either_shop, 3)

    assert early.paused_at is None
    assert not either_shop.runs(row.vmid)
    assert paused.paused_at is not None
    assert paused.wanted_by is power.WantedBy.SERVICE
    assert metered(paused).pause is not None
    async with either_shop.parts.db.read() as tx:
        told = await happening_rows.list_about(tx, [row.lease_id], [])
    assert [one.detail for one in told] == ["by the service, to pause: idle"]


async def test_without_the_wish_nothing_is_paused_or_written(
    shop: Installation, quiet_figures: Figures
) -> None:
    row = (await shop.lease(shop.tenant(10**8), minutes=600)).lease
    quiet_figures.of(shop)

    now = await look_for(shop, 2 * LIMIT)

    assert now == row
    assert await shop.leases.note_use(row) is row


@pytest.mark.parametrize(
    "busy",
    [
        pytest.param({"cpu": 0.06}, id="processor"),
        pytest.param({"sent_a_second": 2000}, id="network"),
        pytest.param({"cpu": "lots"}, id="no number"),
        pytest.param({"lock": "backup"}, id="locked"),
    ],
)
async def test_use_and_figures_that_make_no_sense_keep_it_running(
    shop: Installation, quiet_figures: Figures, busy: dict[str, Any]
) -> None:
    row = await sold(shop)
    for name, value in busy.items():
        setattr(quiet_figures, name, value)
    quiet_figures.of(shop)

    for _ in range(LIMIT):
        now = await look(shop, 120)

    assert shop.runs(row.vmid)
    assert now.active_at is not None
    assert await shop.parts.db.time() - now.active_at < 2 * idling.NOTED_EVERY


async def test_use_is_written_at_most_once_a_minute(
    shop: Installation, quiet_figures: Figures
) -> None:
    row = await sold(shop)
    quiet_figures.cpu = 0.9
    quiet_figures.of(shop)
    moments = set()

    for _ in range(12):
        now = await look(shop, 10)
        moments.add(now.active_at)
        await shop.leases.note_use(now)
        moments.add((await shop.leases.find(row.lease_id)).active_at)

    assert len(moments) <= 3


async def test_each_use_and_each_wake_begin_the_time_anew(
    shop: Installation, quiet_figures: Figures
) -> None:
    row = await sold(shop, wake_on=("command",))
    quiet_figures.of(shop)
    await look_for(shop, LIMIT)

    await shop.leases.note_use(row)
    used = await look_for(shop, LIMIT)
    paused = await look_for(shop, 3)
    woken = await shop.leases.wake_for(paused, power.Use.COMMAND)
    quiet_figures.uptime_seconds = 10**6  # as if it had been up all the time
    again = await look_for(shop, LIMIT)

    assert used.paused_at is None
    assert paused.paused_at is not None
    assert woken.paused_at is None
    assert again.paused_at is None
    assert (await look_for(shop, 3)).paused_at is not None


async def test_what_was_just_started_is_not_idle(
    shop: Installation, quiet_figures: Figures
) -> None:
    row = await sold(shop)
    quiet_figures.uptime_seconds = 60 * LIMIT - 1
    quiet_figures.of(shop)

    await look_for(shop, 2 * LIMIT)

    assert shop.runs(row.vmid)


async def test_what_is_open_is_in_use_by_its_own_lease_alone(
    shop: Installation, quiet_figures: Figures
) -> None:
    held, other = await sold(shop), await sold(shop)
    quiet_figures.of(shop)
    calls = shop.parts.guest_work.consoles.open_calls

    with (
        calls.track(open_calls.OpenCall(held, None)),
        calls.track(open_calls.OpenCall(other, None, is_forwarded=True)),
    ):
        for _ in range(LIMIT + 3):
            await calls._look()
            await look(shop)

    assert shop.runs(held.vmid)
    assert not shop.runs(other.vmid)
    await look_for(shop, LIMIT + 3)
    assert not shop.runs(held.vmid)


async def test_a_wish_that_came_while_something_was_open_is_kept_from_ending_it(
    shop: Installation, quiet_figures: Figures
) -> None:
    row = (await shop.lease(shop.tenant(10**8), minutes=600)).lease
    quiet_figures.of(shop)
    calls = shop.parts.guest_work.consoles.open_calls

    with calls.track(open_calls.OpenCall(row, None)):
        async with shop.parts.db.begin() as tx:
            wish = {"metadata": {"idlePauseMinutes": LIMIT}, "active_at": shop.parts.db.now()}
            await tx.execute(tables.leases.update().values(**wish))
        for _ in range(LIMIT + 3):
            await calls._look()
            await look(shop)

    assert shop.runs(row.vmid)


async def test_a_time_in_which_nobody_looked_counts_as_use(
    shop: Installation, quiet_figures: Figures
) -> None:
    row = await sold(shop)
    quiet_figures.of(shop)
    await look_for(shop, LIMIT)

    await look(shop, 240)
    later = await look_for(shop, LIMIT)

    assert later.paused_at is None
    assert shop.runs(row.vmid)
    assert (await look_for(shop, 3)).paused_at is not None


async def test_a_restart_loses_no_idle_time(
    tmp_path: Path, world: World, pausing_catalogue: Path, quiet_figures: Figures
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, pve402_catalogue=pausing_catalogue) as first:
        quiet_figures.of(first)
        row = await sold(first)
        await look_for(first, LIMIT - 1)
        shift = first.parts.db.shift_seconds

    async with running(url, *world, pve402_catalogue=pausing_catalogue) as second:
        second.parts.db.shift_seconds = shift
        quiet_figures.of(second)
        now = await look_for(second, 4)

        assert now.paused_at is not None
        assert not second.runs(row.vmid)


async def test_a_lease_that_an_earlier_version_handed_over_is_in_use_when_first_seen(
    shop: Installation, quiet_figures: Figures
) -> None:
    row = await sold(shop)
    async with shop.parts.db.begin() as tx:
        await tx.execute(tables.leases.update().values(active_at=None))
    quiet_figures.of(shop)

    await look_for(shop, LIMIT)

    assert shop.runs(row.vmid)
    assert (await look_for(shop, 4)).paused_at is not None


async def test_a_detached_command_a_guest_that_does_not_tell_and_a_failure_keep_it_running(
    shop: Installation, quiet_figures: Figures, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[bool | Exception] = [True, RuntimeError(), TimeoutError(), False]

    async def ask(_row: lease.Lease) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def fail(_row: lease.Lease) -> bool:
        raise errors.DatabaseUnavailable

    row = await sold(shop)
    quiet_figures.of(shop)
    idle = shop.parts.lease_reconciler.idle
    monkeypatch.setattr(idle, "is_at_work", ask)
    monkeypatch.setattr(idle.pauses, "pause_idle", fail)

    for _ in range(19):  # it is asked once in eight of these minutes, not at each look
        await look(shop, 120)

    assert shop.runs(row.vmid)
    assert answers == []


async def test_use_during_a_renewal_counts_and_the_renewal_itself_does_not(
    shop: Installation, quiet_figures: Figures
) -> None:
    used, idle = await sold(shop), await sold(shop)
    quiet_figures.of(shop)
    quiet_figures.cpu_of[used.vmid] = 0.5
    async with shop.parts.db.begin() as tx:
        await tx.execute(tables.leases.update().values(hold_order_id="o1"))
    await look_for(shop, 2 * LIMIT)
    quiet_figures.cpu_of.clear()
    async with shop.parts.db.begin() as tx:
        await tx.execute(tables.leases.update().values(hold_order_id=None))

    await look_for(shop, 2)

    assert shop.runs(used.vmid)
    assert not shop.runs(idle.vmid)


@pytest.mark.parametrize(
    "done", ["snapshot", "rollback", "fork", "script", "suspension", "hold", "stop"]
)
async def test_while_something_is_done_with_it_it_is_not_paused(
    tmp_path: Path,
    snapshot_world: World,
    pausing_catalogue: Path,
    quiet_figures: Figures,
    done: str,
) -> None:
    changes: dict[str, Any] = {"pve402_snapshots": 3, "pve402_catalogue": pausing_catalogue}
    async with running(f"sqlite:///{tmp_path}/db.sqlite3", *snapshot_world, **changes) as shop:
        script = {"user_data": "sleep 1"} if done == "script" else {}
        row = await sold(shop, **script)
        await begin(shop, row, done)
        before = await shop.leases.find(row.lease_id)

        is_paused = await shop.parts.lease_reconciler.idle.pauses.pause_idle(before)

        assert not is_paused
        assert await shop.leases.find(row.lease_id) == before


async def begin(shop: Installation, row: lease.Lease, done: str) -> None:
    """Leave something that is done with a lease half-way, as a process that died would."""
    db = shop.parts.db
    if done == "stop":
        await shop.leases.stop(row)
        return
    if done in {"snapshot", "rollback"}:
        await shop.leases.snapshots.take(row, "before")
    await shop.die()
    async with db.begin() as tx:
        if done == "suspension":
            await moves.suspend(db, tx, row, "abuse", time_held=False)
        elif done == "hold":
            await tx.execute(tables.leases.update().values(hold_order_id="o1"))
        elif done == "fork":
            named: dict[str, Any] = {
                "order_id": "o1",
                "lease_id": row.lease_id,
                "pve_name": "pve402-x",
            }
            one = forks.Fork(**named, created_at=row.created_at)
            await fork_rows.insert(db, tx, one)
        elif done == "script":
            await tx.execute(tables.user_data.update().values(state="running"))
        else:
            (one,) = await snapshot_rows.of_lease(tx, row.lease_id)
            state = {"snapshot": "deleting", "rollback": "rolling_back"}[done]
            await snapshot_rows.update(tx, one, state=state)


async def test_what_is_about_to_end_is_not_paused(
    shop: Installation, quiet_figures: Figures
) -> None:
    row = await sold(shop, minutes=LIMIT + 3)
    quiet_figures.of(shop)

    await look_for(shop, LIMIT + 2)

    assert (await shop.leases.find(row.lease_id)).is_to_run


async def test_only_what_can_be_paused_is_sold_with_the_wish(shop: Installation) -> None:
    for wrong in ({"sku": "basic-lxc"}, {"idle_pause_minutes": 4}, {"idle_pause_minutes": 1441}):
        with pytest.raises(errors.OutOfBounds):
            await sold(shop, **wrong)

    assert await shop.leases_now() == []


async def test_a_warm_guest_keeps_the_wish_of_its_buyer(
    tmp_path: Path, world: World, pausing_catalogue: Path, quiet_figures: Figures
) -> None:
    changes: dict[str, Any] = {
        "pve402_catalogue": pausing_catalogue,
        "pve402_pool": "standard-lxc:1:512:8=1",
    }
    async with running(f"sqlite:///{tmp_path}/db.sqlite3", *world, **changes) as shop:
        await shop.pool_of(1)

        row = await sold(shop)

        assert row.pooled_at is not None
        assert row.idle_pause_minutes == LIMIT
        assert row.active_at is not None
