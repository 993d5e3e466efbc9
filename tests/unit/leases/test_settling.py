"""How long a guest runs while it is unknown whether it is paid."""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from tests.integration.storage.test_queue import new_lease
from tests.integration.storage.test_rows import new_order

from pve402.domain import lease, order
from pve402.leases import deals, machine, moves, settling, workflow
from pve402.payments.facilitators import Outcome, Settlement
from pve402.proxmox import errors as pve
from pve402.storage import queue

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
PAUSES = (0.5, 32.0, 60.0)
TX = "0x" + "ab" * 32


@dataclasses.dataclass
class World:
    """Stands for the database, the guests and the money of one order."""

    outcome: Outcome = Outcome.UNKNOWN
    takes_seconds: float = 0.0
    asked_for_seconds: float = 0.0
    stop_fails: pve.ProxmoxError | None = None
    is_taken_over: bool = False
    stopped: int = 0
    moved_to: str | None = None

    @property
    def db(self) -> "World":
        return self

    async def time(self) -> Any:
        return STARTED + timedelta(seconds=self.asked_for_seconds)

    @contextlib.asynccontextmanager
    async def single(self) -> AsyncIterator[None]:
        yield None

    async def write_order(self, _tx: object, row: order.Order, **_: Any) -> order.Order:
        if self.is_taken_over:
            raise queue.FenceLostError
        return row

    async def remember(self, row: order.Order, transaction: str | None) -> None:
        return None

    async def ensure_stopped(self, _lease: lease.Lease) -> None:
        self.stopped += 1
        if self.moved_to is not None and self.moved_to != _lease.node:
            raise machine.GuestMovedError(self.moved_to)
        if self.stop_fails:
            raise self.stop_fails

    async def settle(self, row: order.Order) -> Settlement:
        await asyncio.sleep(self.takes_seconds)
        return Settlement(outcome=self.outcome, payer=row.payer, network=row.network)


async def settle(world: World, settling_at: datetime | None = STARTED) -> settling.Paid:
    row = dataclasses.replace(new_order(1), created_at=STARTED, settling_at=settling_at)
    step = settling.Settling(*(cast("Any", world),) * 3)
    return await step.settle(deals.Deal(order=row, lease=new_lease(1)))


async def pause(world: World) -> Any:
    with pytest.raises(workflow.RetryLater) as caught:
        await settle(world)
    return caught.value.pause(PAUSES)


async def test_a_guest_whose_money_is_on_chain_is_not_stopped_to_learn_so() -> None:
    world = World(outcome=Outcome.SETTLED, takes_seconds=0.01, asked_for_seconds=3600)

    await settle(world)

    assert world.stopped == 0


async def test_a_guest_whose_chain_says_nothing_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settling, "LOOK_SECONDS", 0.01)
    world = World(outcome=Outcome.SETTLED, takes_seconds=0.1, asked_for_seconds=3600)

    paid = await settle(world)

    assert (paid.may_be_stopped, world.stopped) == (True, 1)


@pytest.mark.parametrize("asked_for_seconds", [40.0, 59.0])
async def test_the_next_look_is_no_later_than_the_stop(asked_for_seconds: float) -> None:
    world = World(asked_for_seconds=asked_for_seconds)
    left = 60 - asked_for_seconds

    assert await pause(world) == [min(usual, left) for usual in PAUSES]
    assert world.stopped == 0


@pytest.mark.parametrize("failure", [None, pve.GuestMissing()])
async def test_a_guest_that_is_down_waits_as_usual(failure: pve.ProxmoxError | None) -> None:
    world = World(asked_for_seconds=61, stop_fails=failure)

    assert await pause(world) == list(PAUSES)
    assert world.stopped == 1


async def test_without_a_moment_of_asking_the_orders_own_counts() -> None:
    world = World(asked_for_seconds=61)

    with pytest.raises(workflow.RetryLater):
        await settle(world, settling_at=None)

    assert world.stopped == 1


@pytest.mark.parametrize(("asked_for_seconds", "after", "stopped"), [(59, 0.3, 0), (61, 5.0, 1)])
async def test_a_part_of_a_payment_that_takes_long_is_stopped_and_looked_at_less_often(
    asked_for_seconds: float, after: float, stopped: int
) -> None:
    world = World(asked_for_seconds=asked_for_seconds)
    row = dataclasses.replace(new_order(1), part_of="o2", settling_at=STARTED)
    step = settling.Settling(*(cast("Any", world),) * 3)

    async def unpaid(deal: Any) -> Any:
        raise workflow.RetryLater("its payment is not made yet", after_seconds=0.3)

    step._parts.await_money = unpaid  # type: ignore[method-assign]

    with pytest.raises(workflow.RetryLater) as caught:
        await step.settle(deals.Deal(order=row, lease=new_lease(1)))

    assert (caught.value.pause(PAUSES), world.stopped) == (after, stopped)


async def test_a_guest_that_was_not_stopped_is_stopped_again_soon() -> None:
    world = World(asked_for_seconds=61, stop_fails=pve.Unreachable())

    assert await pause(world) == [0.5, 5.0, 5.0]


async def test_a_guest_that_was_migrated_is_stopped_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def follow(_tx: object, row: lease.Lease, node: str) -> lease.Lease:
        return row.evolve(node=node)

    monkeypatch.setattr(moves, "follow_in_order", follow)
    world = World(asked_for_seconds=61, moved_to="elsewhere")

    assert await pause(world) == list(PAUSES)
    assert world.stopped == 2


async def test_whoever_lost_the_order_stops_nothing() -> None:
    world = World(asked_for_seconds=61, is_taken_over=True)

    with pytest.raises(queue.FenceLostError):
        await settle(world)

    assert world.stopped == 0
