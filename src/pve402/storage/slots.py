"""Write slots: how many Proxmox tasks of ours may run on a node at once, over all replicas.

Three workers of Proxmox do all protected calls of a node; a few that wait for one lock were seen to
hold up unrelated calls for 10 s and more. Slots are rows with a time limit, so those of a dead
process come back by themselves. With SQLite there is one process, and a semaphore is enough.
"""

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from pve402.domain import errors
from pve402.storage import database, queue, tables, transaction

_slots = tables.node_slots
_HOLD_SECONDS = 10.0  # renewed while held, so a dead process's slots are free soon
_PAUSE_SECONDS = 0.1


class NodeSlots:
    """Hands out the write slots of nodes."""

    def __init__(self, db: database.Database, *, per_node: int) -> None:
        self._db = db
        self._per_node = per_node
        self._local: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(per_node))

    @contextlib.asynccontextmanager
    async def hold(self, node: str) -> AsyncIterator[None]:
        """Wait for a slot of the node and hold it for the block."""
        async with self._local[node]:
            if self._db.is_sqlite:
                yield
                return
            holder = await self._take(node)
            renewal = asyncio.create_task(self._renew(node, holder))
            try:
                yield
            finally:
                renewal.cancel()
                await self._write(node, holder, {"holder": None, "held_until": self._db.now(-1)})

    async def _take(self, node: str) -> str:
        holder = queue.new_fence()
        while True:
            async with self._db.begin() as tx:
                if await self._try_take(tx, node, holder):
                    return holder
            await asyncio.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311

    async def _try_take(self, tx: transaction.Transaction, node: str, holder: str) -> bool:
        free = (
            sa.select(_slots.c.slot)
            .where(_slots.c.node == node, _slots.c.slot < self._per_node)
            .where(_slots.c.held_until <= self._db.now())
            .order_by(_slots.c.slot)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        slot = await tx.scalar(free)
        if slot is None:
            await self._add_slots(tx, node)
            slot = await tx.scalar(free)
        if slot is None:
            return False
        await tx.execute(
            _slots.update()
            .where(_slots.c.node == node, _slots.c.slot == slot)
            .values(holder=holder, held_until=self._db.now(_HOLD_SECONDS))
        )
        return True

    async def _add_slots(self, tx: transaction.Transaction, node: str) -> None:
        known = await tx.scalar(
            sa.select(sa.func.count()).select_from(_slots).where(_slots.c.node == node)
        )
        if known and known >= self._per_node:
            return
        free = {"node": node, "held_until": self._db.now(-1)}
        rows = [{**free, "slot": slot} for slot in range(self._per_node)]
        insert = postgresql.insert(_slots).values(rows)
        await tx.execute(insert.on_conflict_do_nothing())

    async def _renew(self, node: str, holder: str) -> None:
        while True:
            await asyncio.sleep(_HOLD_SECONDS / 3)
            with contextlib.suppress(errors.DatabaseUnavailable):
                await self._write(node, holder, {"held_until": self._db.now(_HOLD_SECONDS)})

    async def _write(self, node: str, holder: str, values: dict[str, Any]) -> None:
        async with self._db.begin() as tx:
            await tx.execute(
                _slots.update()
                .where(_slots.c.node == node, _slots.c.holder == holder)
                .values(values)
            )
