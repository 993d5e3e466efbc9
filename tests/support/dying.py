"""A process that dies in the middle of something, at a call or at a write."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.support.installation import Installation

WHEN = ["before", "after"]
WRITES = ("begin", "single")
"""The ways to write to the database; `begin 2` is the second transaction of that kind."""


def either_database(
    points: Sequence[str], on_postgresql: Sequence[str] | None = None
) -> pytest.MarkDecorator:
    """Crash at all points on SQLite, and around each write on PostgreSQL, or some of them.

    Who dies at a call of Proxmox leaves the rows of the write before it.
    """
    writes = on_postgresql
    if writes is None:
        writes = [point for point in points if point.partition(" ")[0] in {*WRITES, "update"}]
    cases: list[Any] = [("sqlite", point) for point in points]
    cases += [pytest.param("postgresql", point, marks=pytest.mark.postgres) for point in writes]
    return pytest.mark.parametrize(("database_url", "point"), cases, indirect=["database_url"])


async def die_at(shop: Installation, point: str, when: str, then: Any) -> None:
    """Let things go on until a crash point is reached, and die there.

    The point is what calls of Proxmox match, or a way to write, and its number.
    """
    pattern, _, number = point.rpartition(" ")
    reached = _hang_at(shop, pattern, int(number), when)
    asking = asyncio.ensure_future(then)
    await asyncio.wait_for(reached.wait(), 20)
    await shop.die()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


def _hang_at(shop: Installation, pattern: str, number: int, when: str) -> asyncio.Event:
    owner: Any = shop.parts.db if pattern in WRITES else shop.parts.proxmox
    name = pattern if pattern in WRITES else "request"
    honest, seen, reached = getattr(owner, name), 0, asyncio.Event()

    def is_it(*arguments: Any) -> bool:
        nonlocal seen
        called = " ".join(map(str, arguments[:2]))
        seen += pattern in WRITES or re.search(pattern, called) is not None
        return seen == number and not reached.is_set()

    async def hang() -> None:
        reached.set()
        await asyncio.Event().wait()

    async def calling(*arguments: Any, **named: Any) -> Any:
        if not is_it(*arguments):
            return await honest(*arguments, **named)
        if when == "after":
            with contextlib.suppress(Exception):
                await honest(*arguments, **named)
        return await hang()

    @contextlib.asynccontextmanager
    async def writing() -> AsyncIterator[Any]:
        dies = is_it()
        if dies and when == "before":
            await hang()
        async with honest() as tx:
            yield tx
        if dies:
            await hang()

    setattr(owner, name, writing if pattern in WRITES else calling)
    return reached


async def come_round(second: Installation) -> None:
    """Let the dead process's time limits run out, and a call that it may have sent arrive."""
    for seconds in (20, 100, 20):
        second.pass_time(seconds)
        await second.settled_down()
