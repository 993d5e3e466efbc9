"""How many leases a second go through their whole life.

    python -m tests.bench.bench_sagas [--leases 400] [--at-once 8]

One saga is claim, create, start, settle, hand over, stop, destroy, against a simulated Proxmox,
facilitator and chain that take no time of their own but share the machine. Prints, for each
database, sagas a second, the time of one step (median / 99th percentile), and what the process
used.
"""

import argparse
import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy as sa
import structlog
import uvloop
from tests.bench import worlds
from tests.chaos import payers, stage
from tests.support import payments as signing

from pve402 import bootstrap
from pve402.domain import lease, price, request
from pve402.leases import service
from pve402.storage import tables

_LIMIT_SECONDS = 600.0


async def measure(kind: str, leases: int, at_once: int) -> str:
    """Measure on one database and return a line of the table."""
    steps: list[float] = []
    async with worlds.installation(kind, PVE402_MAX_UNSETTLED_PER_WALLET="100000") as (
        parts,
        where,
    ):
        _time_steps(parts, steps)
        async with parts:
            purchases = await _purchases(parts, where, leases)
            worlds.settle_heap()
            usage, began = worlds.Usage(), time.monotonic()
            await asyncio.gather(*(_work(parts, purchases) for _ in range(at_once)))
            await _until_over(parts, leases)
            seconds = time.monotonic() - began
            cpu, memory = usage.cpu_percent, usage.memory_mb
    return (
        f"{kind:12}{leases:>8}{at_once:>9}{leases / seconds:>12.1f}"
        f"{worlds.milliseconds(steps):>18}{cpu:>8.0f} %{memory:>8.0f} MB"
    )


async def _purchases(
    parts: bootstrap.Components, where: stage.Stage, count: int
) -> list[service.Purchase]:
    """Payments of one rich wallet, signed beforehand."""
    key = payers.new_payer().key
    await where.rpc("devnet_mintUsdc", key.address, hex(10**12))
    amount = price.atomic_units(parts.leases.prices.of_creation(_wish())[0], 6)
    terms = signing.requirements(
        amount_atomic=amount, pay_to=stage.PAY_TO, network=stage.NETWORK, max_timeout_seconds=600
    )
    until = int(time.time()) + 600
    return [
        service.Purchase(
            payment=signing.payment(key=key, terms=terms, valid_before=until), requirements=terms
        )
        for _ in range(count)
    ]


async def _work(parts: bootstrap.Components, purchases: list[service.Purchase]) -> None:
    while purchases:
        answer = await parts.leases.create(_wish(), purchases.pop())
        await parts.leases.end(answer.lease)


async def _until_over(parts: bootstrap.Components, leases: int) -> None:
    ended = tables.leases.c.status == lease.LeaseStatus.ENDED.value
    query = sa.select(sa.func.count()).select_from(tables.leases).where(ended)
    async with asyncio.timeout(_LIMIT_SECONDS):
        while True:
            async with parts.db.read() as tx:
                if await tx.scalar(query) == leases:
                    return
            await asyncio.sleep(0.05)


def _time_steps(parts: bootstrap.Components, seconds: list[float]) -> None:
    flows: tuple[Any, ...] = (
        parts.lease_worker._workflows.creation,
        parts.lease_worker._workflows.lifetime,
    )
    for flow in flows:
        flow.steps = {
            state: dataclasses.replace(step, do=_timed(step.do, seconds))
            for state, step in flow.steps.items()
        }


def _timed(do: Callable[[Any], Awaitable[Any]], seconds: list[float]) -> Any:
    async def doing(row: Any) -> Any:
        began = time.monotonic()
        try:
            return await do(row)
        finally:
            seconds.append(time.monotonic() - began)

    return doing


def _wish() -> request.CreationRequest:
    return request.CreationRequest(
        sku="standard-lxc",
        minutes=60,
        hostname="bench",
        size=lease.Size(cores=1, memory_mb=128, disk_gb=1),
        password="correct horse",
    )


def main() -> None:
    """Measure both databases and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_sagas")
    parser.add_argument("--leases", type=int, default=400)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--database", choices=("sqlite", "postgresql"))
    chosen = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        cache_logger_on_first_use=True,
    )
    print(
        f"{'database':12}{'leases':>8}{'at once':>9}{'sagas/s':>12}{'a step, ms':>18}"
        f"{'CPU':>10}{'memory':>11}"
    )
    for kind in [chosen.database] if chosen.database else ["sqlite", "postgresql"]:
        print(uvloop.run(measure(kind, chosen.leases, chosen.at_once)), flush=True)


if __name__ == "__main__":
    main()
