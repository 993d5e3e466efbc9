"""What waiting for a write slot on a full node costs the database."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from pve402.storage import database, slots, tables


@pytest.fixture
async def server(migrated_url: str) -> AsyncIterator[database.Database]:
    """An open database on a server, which replicas share."""
    opened = await database.Database(migrated_url).open()
    yield opened
    await opened.close()


class Waits:
    """Stands in for the pauses between tries, and tells when so many of them have begun."""

    def __init__(self, number: int) -> None:
        self.are_over = asyncio.Event()
        self._number = number

    def pauses(self) -> Iterator[float]:
        """Pauses that cost no time."""
        for begun in itertools.count(1):
            if begun > self._number:
                self.are_over.set()
            yield 0.0


@pytest.mark.postgres
async def test_a_full_node_is_tried_again_with_one_statement(server: database.Database) -> None:
    waits = Waits(20)
    one, other = (slots.NodeSlots(server, per_node=one_slot, pauses=waits.pauses) for _ in range(2))
    asked = statements_of(server)

    async with one.hold("pve"):
        asked.clear()
        waiting = asyncio.create_task(hold_once(other))
        await waits.are_over.wait()
        of_waiting = dict(asked)
    await waiting

    assert of_waiting["INSERT"] == 1
    assert of_waiting["UPDATE"] >= 20


@pytest.mark.postgres
async def test_slots_that_a_crash_took_come_back(server: database.Database) -> None:
    now = 100.0
    waits = Waits(3)
    node_slots = slots.NodeSlots(server, per_node=one_slot, clock=lambda: now, pauses=waits.pauses)
    await hold_once(node_slots)
    async with server.begin() as tx:
        await tx.execute(tables.node_slots.delete())

    waiting = asyncio.create_task(hold_once(node_slots))
    await waits.are_over.wait()
    now += slots._ADD_EVERY_SECONDS
    await waiting

    async with server.read() as tx:
        assert await tx.scalar(sa.select(sa.func.count()).select_from(tables.node_slots)) == 1


def test_pauses_grow_up_to_a_second() -> None:
    pauses = list(itertools.islice(slots.growing_pauses(), 50))

    assert pauses[0] <= 0.1
    assert min(pauses[10:]) >= 0.5
    assert max(pauses) <= 1.0


async def test_a_slot_lingers_after_its_block(
    file: database.Database,
) -> None:
    ended: list[Callable[[], None]] = []
    node_slots = slots.NodeSlots(
        file, per_node=one_slot, later=lambda seconds, end: ended.append(end) if seconds else end()
    )
    async with node_slots.hold("pve", linger_seconds=0.05):
        pass

    waiting = asyncio.create_task(hold_once(node_slots))
    for _ in range(20):
        await asyncio.sleep(0)
    was_waiting = not waiting.done()
    ended[0]()
    await waiting

    assert was_waiting


@pytest.mark.postgres
async def test_a_slot_lingers_for_other_replicas_too(server: database.Database) -> None:
    waits = Waits(3)
    one = slots.NodeSlots(server, per_node=one_slot)
    other = slots.NodeSlots(server, per_node=one_slot, pauses=waits.pauses)
    async with one.hold("pve", linger_seconds=600.0):
        pass

    waiting = asyncio.create_task(hold_once(other))
    await waits.are_over.wait()
    server.shift_seconds += 601
    await waiting

    assert waiting.done()


async def test_a_node_whose_cores_are_known_later_gets_more_slots(
    file: database.Database,
) -> None:
    number = 1
    node_slots = slots.NodeSlots(file, per_node=lambda _node: number)

    async with node_slots.hold("pve"):
        number = 2
        async with node_slots.hold("pve"):
            full = asyncio.create_task(hold_once(node_slots))
            for _ in range(20):
                await asyncio.sleep(0)
            was_full = not full.done()
    await full

    assert was_full


def statements_of(db: database.Database) -> Counter[str]:
    """Count what a server is asked from here on, by the first word."""
    counts: Counter[str] = Counter()

    def count(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        counts[statement.split(maxsplit=1)[0]] += 1

    engine: Any = db._connections
    sa.event.listen(engine._writing.sync_engine, "before_cursor_execute", count)
    return counts


def one_slot(_node: str) -> int:
    """What a node has of one core that the operator allowed no more."""
    return 1


async def hold_once(node_slots: slots.NodeSlots) -> None:
    """Wait for a slot and give it back."""
    async with node_slots.hold("pve"):
        pass
