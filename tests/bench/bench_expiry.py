"""How late leases are ended when very many wait.

    python -m tests.bench.bench_expiry [--waiting 100000] [--per-minute 1000] [--seconds 60]

The worker runs in this process, on a table of leases of which so many fall due a minute; their
guests are there and take no time to stop. Prints, for each database: how late a lease was looked
at and how late its guest was seen down (median / 99th percentile), and what the process used.
"""

import argparse
import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import uvloop
from tests.bench import worlds
from tests.chaos import stage, world

from pve402 import bootstrap
from pve402.domain import lease, mark
from pve402.storage import column_types, tables

_BATCH = 5000
_HEAD_START_SECONDS = 5.0
Step = Callable[[lease.Lease], Awaitable[lease.Lease | None]]


async def measure(kind: str, waiting: int, per_minute: int, seconds: float) -> str:
    """Measure on one database and return a line of the table."""
    due = int(per_minute * seconds / 60)
    looked: list[float] = []
    ended: list[float] = []
    async with worlds.installation(kind) as (parts, where):
        await parts.db.open()
        began = time.time() + _HEAD_START_SECONDS + (waiting + due) / 15_000
        await _fill(parts, waiting, due, began, 60 / per_minute)
        await _plant(where, due)
        _watch(parts, looked, ended)
        await parts.lease_worker.start()
        await asyncio.sleep(max(0.0, began - time.time()))
        usage = worlds.Usage()
        await worlds.until(lambda: len(ended) >= due, seconds + 60)
        cpu, memory = usage.cpu_percent, usage.memory_mb
        await parts.lease_worker.stop()
        await parts.settler.close()
        await parts.proxmox.close()
        await parts.db.close()
    return (
        f"{kind:12}{waiting:>10}{per_minute:>8}{worlds.milliseconds(looked):>18}"
        f"{worlds.milliseconds(ended):>18}{cpu:>8.0f} %{memory:>8.0f} MB"
    )


async def _fill(
    parts: bootstrap.Components, waiting: int, due: int, began: float, spacing: float
) -> None:
    """Write leases that fall due one after another, and many more that do not."""
    for first in range(0, waiting + due, _BATCH):
        numbers = range(first, min(first + _BATCH, waiting + due))
        rows = [_row(n, began + (n * spacing if n < due else 86_400)) for n in numbers]
        async with parts.db.begin() as tx:
            await tx.execute(tables.leases.insert(), rows)


def _row(number: int, ends_at: float) -> dict[str, Any]:
    moment = column_types.UtcMilliseconds().process_result_value(int(ends_at * 1000), None)  # type: ignore[arg-type]
    return {
        "lease_id": _lease_id(number),
        "status": lease.LeaseStatus.ACTIVE.value,
        "node": world.NODES[number % len(world.NODES)],
        "vmid": 10_000 + number,
        "owner": "eip155:84532:0x" + "11" * 20,
        "sku": "standard-lxc",
        "cores": 1,
        "memory_mb": 128,
        "disk_gb": 1,
        "hostname": "bench",
        "template": "local:vztmpl/none",
        "rates": {},
        "metadata": {},
        "created_at": moment,
        "expires_at": moment,
        "due_at": moment,
        "attempts": 0,
        "restarts": 0,
    }


def _lease_id(number: int) -> str:
    return f"l{number:025d}"


async def _plant(where: stage.Stage, due: int) -> None:
    """Have the guests of the leases that fall due stand and run."""
    tag = mark.instance_tag(worlds.INSTANCE)
    guests = [
        {
            "vmid": 10_000 + n,
            "node": world.NODES[n % len(world.NODES)],
            "tags": f"{tag};{mark.lease_tag(_lease_id(n))}",
        }
        for n in range(due)
    ]
    async with where.session.post(f"{where.addresses['hand']}/guests", json=guests) as response:
        response.raise_for_status()


def _watch(parts: bootstrap.Components, looked: list[float], ended: list[float]) -> None:
    """Note when a lease is looked at first, and when it is written as stopped."""
    lifetime = parts.lease_worker._workflows.lifetime
    ends: dict[str, float] = {}

    def looking(do: Step) -> Step:
        async def noting(row: lease.Lease) -> lease.Lease | None:
            if row.expires_at is not None and row.expires_at.timestamp() <= (now := time.time()):
                ends[row.lease_id] = row.expires_at.timestamp()
                looked.append(now - ends[row.lease_id])
            return await do(row)

        return noting

    def stopping(do: Step) -> Step:
        async def noting(row: lease.Lease) -> lease.Lease | None:
            moved = await do(row)
            ended.append(time.time() - ends[row.lease_id])
            return moved

        return noting

    noted = {lease.LeaseStatus.ACTIVE: looking, lease.LeaseStatus.STOPPING: stopping}
    lifetime.steps = {
        status: dataclasses.replace(step, do=noted[status](step.do)) if status in noted else step
        for status, step in lifetime.steps.items()
    }


def main() -> None:
    """Measure both databases and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.bench_expiry")
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--per-minute", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--database", choices=("sqlite", "postgresql"))
    chosen = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        cache_logger_on_first_use=True,
    )
    print(
        f"{'database':12}{'waiting':>10}{'a min':>8}{'looked at, ms':>18}{'stopped, ms':>18}"
        f"{'CPU':>10}{'memory':>11}"
    )
    for kind in [chosen.database] if chosen.database else ["sqlite", "postgresql"]:
        line = measure(kind, chosen.waiting, chosen.per_minute, chosen.seconds)
        print(uvloop.run(line), flush=True)


if __name__ == "__main__":
    main()
