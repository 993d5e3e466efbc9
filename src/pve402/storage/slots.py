"""Write slots: limit the Proxmox tasks we run on a node at once, across all replicas.

Three Proxmox workers handle all protected calls of a node; a few calls waiting for one lock have
delayed unrelated calls by 10 s and more. Slots are rows with a time limit, so a dead process's
slots become free again. SQLite has only one process, so a semaphore is enough.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from pve402.domain import errors
from pve402.storage import clock, database, queue, tables, transaction, updates

_slots = tables.node_slots
HOLD_SECONDS = 10.0  # renewed while held, so a dead process's slots are free soon
_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0
_ADD_EVERY_SECONDS = 10.0  # slots are missing only at first and after a server crash


class NodeSlots:
    """Hands out the write slots of nodes."""

    def __init__(
        self,
        db: database.Database,
        *,
        per_node: Callable[[str], int],
        clock: Callable[[], float] = time.monotonic,
        pauses: Callable[[], Iterator[float]] | None = None,
        later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        """Keep the parts; `per_node` tells a node's number of slots, which may grow."""
        self._db = db
        self._per_node = per_node
        self._clock = clock
        self._pauses = pauses or growing_pauses
        self._later = later or _call_later
        self._added_at: dict[str, float] = {}
        self._local: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(0))
        self._sizes: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def hold(self, node: str, linger_seconds: float = 0.0) -> AsyncIterator[None]:
        """Wait for a slot of the node and hold it during the block, and for a while after it."""
        local = self._local_slots(node)
        await local.acquire()
        try:
            if self._db.is_sqlite:
                yield
                return
            holder = await self._take(node)
            renewal = asyncio.create_task(self._renew(node, holder))
            try:
                yield
            finally:
                renewal.cancel()
                # The block's work is done, whether or not the slot can be released now.
                with contextlib.suppress(errors.DatabaseUnavailable):
                    free = {"holder": None, "held_until": self._db.now(linger_seconds or -1)}
                    await self._write(node, holder, free)
        finally:
            self._later(linger_seconds, local.release)

    def _local_slots(self, node: str) -> asyncio.Semaphore:
        """This process's share, which is all of them; grows with the node's number."""
        local, size = self._local[node], self._per_node(node)
        for _ in range(self._sizes[node], size):
            local.release()
        self._sizes[node] = max(size, self._sizes[node])
        return local

    async def _take(self, node: str) -> str:
        holder = queue.new_fence()
        pauses = self._pauses()
        while True:
            if await self._try_take(node, holder) or (
                await self._add_slots(node) and await self._try_take(node, holder)
            ):
                return holder
            await asyncio.sleep(next(pauses))

    async def _try_take(self, node: str, holder: str) -> bool:
        async with self._db.single() as tx:
            taken = await tx.run(
                _TAKE,
                of_node=node,
                per_node=self._per_node(node),
                new_holder=holder,
                now_ms=self._db.shift_ms(),
                until_ms=self._db.shift_ms(HOLD_SECONDS),
            )
        return taken.rowcount == 1

    async def _add_slots(self, node: str) -> bool:
        """Insert a node's missing slots; return whether any were missing.

        Checks at most every few seconds: the node is nearly always just full, and each check is a
        transaction.
        """
        now = self._clock()
        if now - self._added_at.get(node, -_ADD_EVERY_SECONDS) < _ADD_EVERY_SECONDS:
            return False
        free = {"node": node, "held_until": self._db.now(-1)}
        rows = [{**free, "slot": slot} for slot in range(self._per_node(node))]
        insert = postgresql.insert(_slots).values(rows)
        async with self._db.single() as tx:
            added = await tx.execute(insert.on_conflict_do_nothing())
        self._added_at[node] = now
        return added.rowcount > 0

    async def _renew(self, node: str, holder: str) -> None:
        while True:
            await asyncio.sleep(HOLD_SECONDS / 3)
            with contextlib.suppress(errors.DatabaseUnavailable):
                await self._write(node, holder, {"held_until": self._db.now(HOLD_SECONDS)})

    async def _write(self, node: str, holder: str, values: dict[str, Any]) -> None:
        async with self._db.single() as tx:
            await updates.update(tx, _slots, {"node": node, "holder": holder}, values)


def growing_pauses() -> Iterator[float]:
    """Yield the seconds between tries: short at first, longer while the node stays full."""
    longest = _PAUSE_SECONDS
    while True:
        yield longest * random.uniform(0.5, 1.0)  # noqa: S311
        longest = min(1.5 * longest, _LONGEST_PAUSE_SECONDS)


def _call_later(seconds: float, call: Callable[[], None]) -> None:
    if seconds > 0:
        asyncio.get_running_loop().call_later(seconds, call)
    else:
        call()


def _moment(name: str) -> clock.Moment:
    return clock.Moment(transaction.hole(name, type_=sa.BigInteger))


_of_node = _slots.c.node == transaction.hole("of_node")
_TAKE = (
    _slots.update()
    .where(
        _of_node,
        _slots.c.slot
        == sa.select(_slots.c.slot)
        .where(_of_node, _slots.c.slot < transaction.hole("per_node"))
        .where(_slots.c.held_until <= _moment("now_ms"))
        .order_by(_slots.c.slot)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery(),
    )
    .values(holder=transaction.hole("new_holder", type_=sa.String), held_until=_moment("until_ms"))
)
