"""Scripts of new leases: ordered, run once whatever is killed, and what is kept of them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import sqlalchemy as sa
from tests.support.installation import Installation, World, creation, running

from pve402.domain import errors, lease, networks, user_data
from pve402.guests import user_data as runs
from pve402.hub import errors as hub_errors
from pve402.hub import start_scripts
from pve402.hub.start_scripts import Seen, Standing
from pve402.proxmox.guests import GuestRef
from pve402.storage import database, queue, tables, user_data_rows, vault

SCRIPT = "echo hunter2\n"
START = r"POST .*/status/start$"


class Killed(BaseException):
    """A process ends here."""


@dataclasses.dataclass(kw_only=True)
class Guests:
    """What guests would do: each run's mark, and how it stands."""

    begun: list[tuple[str, bytes]] = dataclasses.field(default_factory=list)
    marks: dict[str, str] = dataclasses.field(default_factory=dict)
    standing: Standing = Standing.EXITED
    troubles: list[BaseException] = dataclasses.field(default_factory=list)
    removed: list[str] = dataclasses.field(default_factory=list)
    kill_at: int = -1
    calls: int = 0

    async def begin(self, guest: GuestRef, run: str, exec_id: str, script: bytes) -> None:
        self._step()
        if run not in self.marks:
            self.marks[run] = exec_id
            self.begun.append((run, script))
        self._step()

    async def look(self, guest: GuestRef, run: str, exec_id: str) -> Seen:
        self._step()
        if run not in self.marks:
            return Seen(standing=Standing.NOT_BEGUN, exec_id=exec_id)
        code = 5 if self.standing is Standing.EXITED else None
        return Seen(standing=self.standing, exec_id=self.marks[run], exit_code=code)

    async def output(self, guest: GuestRef, exec_id: str, most_bytes: int) -> bytes:
        self._step()
        return b"said hunter2\n"

    async def remove(self, guest: GuestRef, exec_id: str) -> None:
        self._step()
        self.removed.append(exec_id)

    def _step(self) -> None:
        self.calls += 1
        if self.calls == self.kill_at:
            raise Killed
        if self.troubles:
            raise self.troubles.pop()


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch) -> Guests:
    fake = Guests()
    monkeypatch.setattr(start_scripts, "StartScripts", lambda _hub, _detached: fake)
    return fake


@pytest.fixture
async def shop(guests: Guests, database_url: str, world: World) -> AsyncIterator[Installation]:
    async with running(database_url, *world) as made:
        yield made


async def row_of(shop: Installation, row: lease.Lease) -> user_data.UserData:
    async with shop.parts.db.read() as tx:
        found = await user_data_rows.of_lease(tx, row.lease_id)
    assert found is not None
    return found


async def until(
    shop: Installation, row: lease.Lease, holds: Callable[[user_data.UserData], bool]
) -> user_data.UserData:
    for _ in range(1500):
        if holds(found := await row_of(shop, row)):
            return found
        await asyncio.sleep(0.02)
    raise TimeoutError(await row_of(shop, row))


def is_over(found: user_data.UserData) -> bool:
    return found.state in user_data.OVER


async def test_a_script_runs_and_its_outcome_is_kept(shop: Installation, guests: Guests) -> None:
    row = (await shop.lease(user_data=SCRIPT)).lease

    found = await until(shop, row, is_over)

    kept, output = await shop.leases.scripts.outcome(row)
    assert guests.begun == [(row.lease_id, SCRIPT.encode())]
    assert (found.state, found.exit_code, found.reason) == (user_data.State.EXITED, 5, None)
    assert found.started_at is not None
    assert found.ended_at is not None
    assert (kept, output) == (found, b"said hunter2\n")
    assert (found.sealed_script, found.due_at, found.fence) == (None, None, None)
    assert b"hunter2" not in (found.sealed_output or b"")
    while not guests.removed:  # noqa: ASYNC110 -- it is only tidied up, afterwards
        await asyncio.sleep(0.01)
    assert guests.removed == [found.exec_id]
    seen = await shop.leases.scripts.seen(await shop.leases.view(row))
    assert seen.script == found


async def test_a_lease_without_one_says_so(shop: Installation, guests: Guests) -> None:
    row = (await shop.lease()).lease

    with pytest.raises(errors.UserDataMissing):
        await shop.leases.scripts.outcome(row)
    assert (await shop.leases.scripts.seen(await shop.leases.view(row))).script is None


async def test_another_script_is_another_order(shop: Installation, guests: Guests) -> None:
    wish = creation(user_data=SCRIPT)
    purchase = shop.buy(shop.tenant(), wish)
    await shop.leases.create(wish, purchase)

    for other in ({"user_data": "id"}, {"user_data": SCRIPT, "user_data_skips_network": True}):
        with pytest.raises(errors.PaymentReused):
            await shop.leases.create(creation(**other), purchase)
    assert "hunter2" not in repr(await shop.rows(tables.orders) + await shop.rows(tables.leases))


@pytest.mark.parametrize(
    ("standing", "state", "reason"),
    [
        (Standing.LOST, user_data.State.UNKNOWN, runs.LOST),
        (Standing.NO_ROOM, user_data.State.FAILED, runs.NO_ROOM),
    ],
)
async def test_an_end_that_nobody_saw_is_said_and_not_run_again(
    shop: Installation, guests: Guests, standing: Standing, state: user_data.State, reason: str
) -> None:
    guests.standing = standing
    row = (await shop.lease(user_data=SCRIPT)).lease

    found = await until(shop, row, is_over)

    assert (found.state, found.reason, found.exit_code) == (state, reason, None)
    assert found.sealed_script is None
    assert len(guests.begun) == 1


async def test_what_was_seen_to_run_is_never_run_again(shop: Installation, guests: Guests) -> None:
    guests.standing = Standing.RUNNING
    row = (await shop.lease(user_data=SCRIPT)).lease
    await until(shop, row, lambda found: found.state is user_data.State.RUNNING)

    guests.marks.clear()  # as a disk that was put back, or a script that deletes everything
    found = await until(shop, row, is_over)

    assert (found.state, found.reason) == (user_data.State.UNKNOWN, runs.LOST)
    assert len(guests.begun) == 1


async def test_troubles_pass(shop: Installation, guests: Guests) -> None:
    guests.troubles = [
        hub_errors.GuestNotRunning(),
        hub_errors.SessionLost(),
        hub_errors.TooManyCommands(),
        hub_errors.Moved(owner_address="http://elsewhere"),
    ]
    row = (await shop.lease(user_data=SCRIPT)).lease

    found = await until(shop, row, is_over)

    assert (found.state, len(guests.begun)) == (user_data.State.EXITED, 1)


@pytest.mark.parametrize("skips", [False, True])
async def test_it_waits_for_the_network_unless_it_need_not(
    shop: Installation, guests: Guests, skips: bool
) -> None:
    guests.standing = Standing.RUNNING
    row = (await shop.lease(user_data=SCRIPT, user_data_skips_network=skips)).lease
    await set_link(shop, row, networks.Link.PENDING)
    await begin_again(shop, guests)
    if skips:
        await until(shop, row, lambda found: found.state is user_data.State.RUNNING)
    else:
        await asyncio.sleep(1.3)
    before = len(guests.begun)
    await set_link(shop, row, networks.Link.READY)
    guests.standing = Standing.EXITED

    await until(shop, row, is_over)

    assert (before, len(guests.begun)) == (int(skips), 1)


async def begin_again(shop: Installation, guests: Guests, **changes: Any) -> None:
    """Put the row back to where it begins, in a guest that knows of nothing."""
    guests.marks.clear()
    guests.begun.clear()
    anew = {"state": user_data.State.PENDING.value, "exec_id": None, "started_at": None}
    due = {"fence": None, "due_at": shop.parts.db.now()}
    async with shop.parts.db.begin() as tx:
        await tx.execute(tables.user_data.update().values(**anew, **due, **changes))


async def fresh(shop: Installation, guests: Guests) -> lease.Lease:
    """Lease with a script that nobody has looked at, in an installation that was killed."""
    guests.standing = Standing.RUNNING
    row = (await shop.lease(user_data=SCRIPT)).lease
    await shop.die()
    await begin_again(shop, guests)
    return row


async def set_link(shop: Installation, row: lease.Lease, link: networks.Link) -> None:
    of_lease = tables.leases.c.lease_id == row.lease_id
    async with shop.parts.db.begin() as tx:
        await tx.execute(tables.leases.update().where(of_lease).values(link=link.value))


async def test_it_goes_with_the_lease_also_while_it_runs(
    shop: Installation, guests: Guests
) -> None:
    guests.standing = Standing.RUNNING
    row = (await shop.lease(user_data=SCRIPT)).lease
    await until(shop, row, lambda found: found.state is user_data.State.RUNNING)

    await shop.leases.end(row)
    await shop.until(lambda each: each.status is lease.LeaseStatus.ENDED)
    await shop.parts.lease_reconciler.run_once()

    async with shop.parts.db.read() as tx:
        assert (await tx.execute(sa.select(tables.user_data))).all() == []


async def test_that_of_an_order_that_failed_is_never_run(
    shop: Installation, guests: Guests
) -> None:
    shop.fail_call(START, times=10)

    with pytest.raises(errors.ProvisioningFailed):
        await shop.lease(user_data=SCRIPT)
    await shop.settled_down()
    await shop.parts.lease_reconciler.run_once()

    assert guests.begun == []
    assert (await shop.rows(tables.user_data)) == []


class DyingDatabase:
    """A database whose process ends before or after its nth transaction."""

    def __init__(self, db: database.Database, kill_at: int, *, after: bool) -> None:
        self._db = db
        self._left = kill_at
        self._after = after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    @contextlib.asynccontextmanager
    async def single(self) -> AsyncIterator[Any]:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Killed
        async with self._db.single() as tx:
            yield tx
        if self._left == 0:
            raise Killed


async def work_on(shop: Installation, db: Any, guests: Guests) -> bool:
    """Take the row as a new process does, and work on it; False once there is nothing to do."""
    async with shop.parts.db.begin() as tx:
        await tx.execute(
            tables.user_data.update()
            .where(tables.user_data.c.due_at.isnot(None))
            .values(due_at=shop.parts.db.now(-1.0))
        )
    async with shop.parts.db.single() as tx:
        taken = await user_data_rows.DUE.claim(shop.parts.db, tx, limit=1, hold_seconds=15)
    for due in taken:
        with contextlib.suppress(Killed, queue.FenceLostError):  # another process took it
            await runs.UserDataRuns(db, shop.parts.secret_vault, guests).run(due)
    return bool(taken)


@pytest.mark.parametrize("where", ["guest", "before a write", "after a write"])
async def test_a_kill_anywhere_never_runs_it_twice(
    shop: Installation, guests: Guests, where: str
) -> None:
    row = await fresh(shop, guests)
    script = (await row_of(shop, row)).sealed_script
    ends = Standing.EXITED, Standing.RUNNING
    for kill_at, standing in itertools.product(range(1, 8), ends):
        guests = Guests(standing=standing, kill_at=kill_at if where == "guest" else -1)
        await begin_again(shop, guests, sealed_script=script, exit_code=None)
        dying = DyingDatabase(shop.parts.db, kill_at, after=where == "after a write")

        await work_on(shop, shop.parts.db if where == "guest" else dying, guests)
        guests.kill_at = -1
        await work_on(shop, shop.parts.db, guests)
        guests.standing = Standing.EXITED
        while await work_on(shop, shop.parts.db, guests):
            pass

        found = await row_of(shop, row)
        assert [each for _, each in guests.begun] == [SCRIPT.encode()], kill_at
        assert (found.state, found.exit_code) == (user_data.State.EXITED, 5), kill_at


async def test_of_two_replicas_one_works_on_it(shop: Installation, guests: Guests) -> None:
    row = await fresh(shop, guests)
    guests = Guests()

    await asyncio.gather(*(work_on(shop, shop.parts.db, guests) for _ in range(4)))
    while await work_on(shop, shop.parts.db, guests):
        pass

    assert len(guests.begun) == 1
    assert (await row_of(shop, row)).state is user_data.State.EXITED


async def test_one_that_another_key_sealed_is_said_to_have_failed(
    shop: Installation, guests: Guests
) -> None:
    row = await fresh(shop, guests)
    async with shop.parts.db.begin() as tx:
        await tx.execute(tables.user_data.update().values(sealed_script=b"damaged"))

    while await work_on(shop, shop.parts.db, guests):
        pass

    found = await row_of(shop, row)
    assert (found.state, found.reason) == (user_data.State.FAILED, user_data.UNREADABLE)
    assert guests.begun == []


async def test_output_that_another_key_sealed_is_said_to_be_unreadable(
    shop: Installation, guests: Guests
) -> None:
    row = (await shop.lease(user_data=SCRIPT)).lease
    order_id = (await until(shop, row, is_over)).order_id
    before = vault.Vault(b"the key that the operator lost, alas")

    sealed = before.seal(b"said", user_data_rows.bound_to(order_id, "output"))
    async with shop.parts.db.begin() as tx:
        await tx.execute(tables.user_data.update().values(sealed_output=sealed))
    found, output = await shop.leases.scripts.outcome(row)

    assert (found.state, found.exit_code) == (user_data.State.EXITED, 5)
    assert (found.reason, found.truncated, output) == (user_data.UNREADABLE, True, b"")


@pytest.mark.parametrize(("ran", "least", "most"), [(0, 0.5, 5), (600, 60, 90), (86_400, 900, 900)])
async def test_it_is_looked_at_later_the_longer_it_runs(
    shop: Installation, guests: Guests, ran: int, least: float, most: float
) -> None:
    row = await fresh(shop, guests)
    began = {"state": user_data.State.RUNNING.value, "started_at": shop.parts.db.now(-ran)}
    guests = Guests(standing=Standing.RUNNING, marks={row.lease_id: "e" + "0" * 24})
    async with shop.parts.db.begin() as tx:
        await tx.execute(tables.user_data.update().values(**began))

    before = await shop.parts.db.time()
    await work_on(shop, shop.parts.db, guests)

    due_at = (await row_of(shop, row)).due_at
    assert due_at is not None
    assert (due_at - before).total_seconds() >= least
    assert await seconds_until_due(shop, row) <= most


async def test_who_asks_has_it_looked_at_soon_and_not_more_often(
    shop: Installation, guests: Guests
) -> None:
    row = await fresh(shop, guests)
    for due_seconds in (900.0, 5.0):
        async with shop.parts.db.begin() as tx:
            due_at = shop.parts.db.now(due_seconds)
            await tx.execute(tables.user_data.update().values(due_at=due_at))
        before = await seconds_until_due(shop, row)

        await shop.leases.scripts.seen(await shop.leases.view(row))
        once = (await row_of(shop, row)).due_at
        await shop.leases.scripts.outcome(row)

        assert (await row_of(shop, row)).due_at == once
        assert await seconds_until_due(shop, row) <= min(before, user_data_rows.SOON_SECONDS)


async def test_nobody_looks_before_the_hand_over_which_takes_it_from_who_does(
    shop: Installation, guests: Guests
) -> None:
    order_id = (await row_of(shop, await fresh(shop, guests))).order_id
    db = shop.parts.db
    async with db.begin() as tx:
        await tx.execute(tables.user_data.delete())
        await user_data_rows.insert(db, tx, order_id, b"sealed", needs_network=False)
    async with db.single() as tx:
        early = await user_data_rows.DUE.claim(db, tx, limit=1, hold_seconds=15)

    for fence in (None, "of a worker"):
        async with db.begin() as tx:
            held = {"fence": fence, "due_at": db.now(15.0)}
            await tx.execute(tables.user_data.update().values(**held))
            await user_data_rows.wake(db, tx, order_id)
            taken = await user_data_rows.DUE.claim(db, tx, limit=1, hold_seconds=15)
        assert (list(early), [row["order_id"] for row in taken]) == ([], [order_id])


async def seconds_until_due(shop: Installation, row: lease.Lease) -> float:
    due_at = (await row_of(shop, row)).due_at
    assert due_at is not None
    return (due_at - await shop.parts.db.time()).total_seconds()
