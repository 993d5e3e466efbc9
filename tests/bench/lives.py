"""What a tenant's operations on a running container take: seconds, and calls to Proxmox VE.

The world is in another process and takes the times that were measured on a real Proxmox VE. Each
figure is from the tenant's wish to the answer that says it was done.
"""

import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench import bench_sagas, rows, worlds
from tests.support import pausing

from pve402 import bootstrap
from pve402.domain import lease

TURNS = 10
_SETTINGS = {"PVE402_SNAPSHOTS": "3", "PVE402_WAKES_AN_HOUR": "100"}

Operation = Callable[[bootstrap.Components, lease.Lease], Awaitable[Any]]


async def measure() -> list[rows.Row]:
    """Lease a container, and do everything to it some times, one after another."""
    with tempfile.TemporaryDirectory(prefix="pve402-bench-") as folder:
        chosen = {**_SETTINGS, "PVE402_CATALOGUE": str(pausing.write_catalogue(Path(folder)))}
        return await _measure(chosen)


async def _measure(settings: Mapping[str, str]) -> list[rows.Row]:
    taken: dict[str, list[tuple[float, int]]] = {name: [] for name in OPERATIONS}
    async with worlds.installation("sqlite", latency_scale=1.0, **settings) as (parts, where):
        calls = _count(parts)
        async with parts:
            (purchase,) = await bench_sagas._purchases(parts, where, 1)
            made = (await parts.leases.create(bench_sagas._wish(), purchase)).lease
            for _ in range(TURNS):
                for name, do in OPERATIONS.items():
                    row = await parts.leases.find(made.lease_id)
                    before, began = len(calls), time.perf_counter()
                    await do(parts, row)
                    taken[name].append((time.perf_counter() - began, len(calls) - before))
    return [_row(name, found) for name, found in taken.items()]


async def _take(parts: bootstrap.Components, row: lease.Lease) -> None:
    await parts.leases.snapshots.check_take(row, "bench")
    await parts.leases.snapshots.take(row, "bench")


async def _roll_back(parts: bootstrap.Components, row: lease.Lease) -> None:
    await parts.leases.snapshots.check_roll_back(row, "bench")
    await parts.leases.snapshots.roll_back(row, "bench")


async def _delete(parts: bootstrap.Components, row: lease.Lease) -> None:
    await parts.leases.snapshots.check_change(row, "bench")
    await parts.leases.snapshots.delete(row, "bench")


async def _pause(parts: bootstrap.Components, row: lease.Lease) -> None:
    await parts.leases.check_pause(row)
    await parts.leases.pause(row)


async def _stop(parts: bootstrap.Components, row: lease.Lease) -> None:
    await parts.leases.check_switch(row)
    await parts.leases.stop(row)


async def _start(parts: bootstrap.Components, row: lease.Lease) -> None:
    await parts.leases.check_start(row)
    await parts.leases.start(row)


OPERATIONS: dict[str, Operation] = {
    "a snapshot": _take,
    "a rollback, until it runs again": _roll_back,
    "the end of a snapshot": _delete,
    "a stop": _stop,
    "a start": _start,
    "a pause, until it burns less": _pause,
    "a wake": _start,
}


def _count(parts: bootstrap.Components) -> list[str]:
    """Note every call to Proxmox VE from now on."""
    calls, honest = list[str](), parts.proxmox.request

    async def noting(method: str, *arguments: Any, **named: Any) -> Any:
        calls.append(method)
        return await honest(method, *arguments, **named)

    parts.proxmox.request = noting  # type: ignore[method-assign]
    return calls


def _row(name: str, found: list[tuple[float, int]]) -> rows.Row:
    seconds = sorted(one for one, _ in found)
    calls = [count for _, count in found]
    return rows.Row(
        what=name,
        ours=f"p50 / p95 {median(seconds):.2f} / {seconds[int(len(seconds) * 0.95)]:.2f} s",
        beside="calls to Proxmox VE",
        peer=f"{median(calls):.0f}, at most {max(calls)}",
        ratio="-",
        aim="-",
    )
