"""Waits until transactions on PostgreSQL wait for each other."""

import asyncio

import sqlalchemy as sa

from pve402.storage import transaction


async def until_somebody_waits(tx: transaction.Transaction) -> None:
    """Wait until another transaction waits for what this one has written."""
    waiting = sa.text(
        "SELECT count(*) FROM pg_locks"
        " WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
    )
    async with asyncio.timeout(30):
        while not (await tx.execute(waiting)).scalar_one():  # noqa: ASYNC110 - only looking tells
            await asyncio.sleep(0.01)
