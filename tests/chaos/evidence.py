"""What a run left behind, read where it is: on the chain, on Proxmox, in the database.

Nothing here asks the service.
"""

import asyncio
import dataclasses
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext import asyncio as sa_asyncio
from tests.chaos import keeping, payments, running, stage, standing

from pve402.domain import lease, order, owed
from pve402.payments import abi
from pve402.payments.schemes.exact import eip3009
from pve402.storage import tables

_DATABASE_RESTARTS_SECONDS = 30.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
    """Money that came to the operator."""

    transaction: str
    payer: str
    nonce: str
    amount_atomic: int
    block: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that was read."""

    transfers: Sequence[Transfer]
    leases: Sequence[lease.Lease]
    orders: Sequence[order.Order]
    guests: Sequence[Mapping[str, Any]]
    vmids: Sequence[Mapping[str, Any]]
    owed: Sequence[owed.Owed]
    signed: Sequence[payments.Signed]
    minute_seconds: float
    read_at: datetime
    blocks_vanish: bool = False
    runs: Sequence[running.Run] = ()
    absences: Sequence[running.Absence] = ()
    stored: standing.Stored = standing.NOTHING
    wishes: Sequence[running.Wish] = ()
    kept: keeping.Kept = keeping.NOTHING
    served: Sequence[running.Span] = ()
    """When at least one server served."""
    unpaid_seconds: float = 0.0
    """How long a guest may run unpaid while a server serves."""


async def read_rows(database_url: str, table: sa.Table) -> list[dict[str, Any]]:
    """All rows of a table, read beside the servers; a database that restarts is waited for."""
    give_up_at = time.monotonic() + _DATABASE_RESTARTS_SECONDS
    while True:
        try:
            return await _read_once(database_url, table)
        except (sa.exc.DBAPIError, OSError):
            if time.monotonic() > give_up_at:
                raise
            await asyncio.sleep(0.5)


async def _read_once(database_url: str, table: sa.Table) -> list[dict[str, Any]]:
    url = sa.make_url(database_url)
    driver = "sqlite+aiosqlite" if url.get_backend_name() == "sqlite" else "postgresql+asyncpg"
    engine = sa_asyncio.create_async_engine(url.set(drivername=driver))
    try:
        async with engine.connect() as tx:
            return [dict(row) for row in (await tx.execute(sa.select(table))).mappings()]
    finally:
        await engine.dispose()


async def read(
    where: stage.Stage,
    signed: Sequence[payments.Signed],
    minute_seconds: float,
    *,
    wishes: Sequence[running.Wish],
    unpaid_seconds: float,
    asked: Mapping[str, Collection[str]] = keeping.NOBODY,
    blocks_vanish: bool = False,
) -> Findings:
    """Read everything."""
    url, shown = where.database_url, await where.runs()
    return Findings(
        read_at=datetime.now(UTC),
        transfers=await read_transfers(where),
        leases=[lease.Lease.from_row(row) for row in await read_rows(url, tables.leases)],
        orders=[order.Order.from_row(row) for row in await read_rows(url, tables.orders)],
        vmids=await read_rows(url, tables.vmids),
        owed=[owed.Owed.from_row(row) for row in await read_rows(url, tables.owed)],
        guests=await where.guests(),
        kept=await read_kept(url, asked),
        runs=running.read_runs(shown),
        absences=running.read_absences(shown),
        stored=await read_stored(where),
        wishes=wishes,
        served=running.merged(span for one in where.replicas for span in one.served()),
        unpaid_seconds=unpaid_seconds,
        signed=signed,
        minute_seconds=minute_seconds,
        blocks_vanish=blocks_vanish,
    )


async def read_kept(
    url: str, asked: Mapping[str, Collection[str]] = keeping.NOBODY
) -> keeping.Kept:
    """What the tables say of snapshots, sizes, reinstallations and forks."""
    forks = await read_rows(url, tables.forks)  # first: one that ends leaves a snapshot to delete
    names = (tables.snapshots, tables.size_changes, tables.reinstalls)
    return keeping.Kept.of_rows(*[await read_rows(url, table) for table in names], forks, asked)


async def read_stored(where: stage.Stage) -> standing.Stored:
    """What storages hold."""
    rows = await read_rows(where.database_url, tables.oci_files)
    return standing.Stored.of(await where.stored(), rows)


async def read_transfers(where: stage.Stage) -> list[Transfer]:
    """What the chain says was paid."""
    used = await where.rpc(
        "eth_getLogs",
        {"fromBlock": "0x0", "toBlock": "latest", "topics": [eip3009.AUTHORIZATION_USED]},
    )
    to_us = [eip3009.TRANSFER, None, "0x" + abi.address_word(stage.PAY_TO)]
    paid = await where.rpc(
        "eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest", "topics": to_us}
    )
    amounts = {log["transactionHash"]: int(log["data"], 16) for log in paid}
    return [
        Transfer(
            transaction=log["transactionHash"],
            payer="0x" + log["topics"][1][-40:],
            nonce=log["topics"][2],
            amount_atomic=amounts[log["transactionHash"]],
            block=int(log["blockNumber"], 16),
        )
        for log in used
        if log["transactionHash"] in amounts
    ]
