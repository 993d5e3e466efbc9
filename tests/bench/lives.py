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

from tests.bench import bench_sagas, copying, rows, worlds
from tests.support import pausing

from pve402 import bootstrap
from pve402.domain import lease

TURNS = 10
_SETTINGS = {"PVE402_SNAPSHOTS": "3", "PVE402_WAKES_AN_HOUR": "100", **copying.SETTINGS}

Operation = Callable[[copying.Tenant, lease.Lease], Awaitable[Any]]


async def measure() -> list[rows.Row]:
    """Lease a container, and do everything to it some times, one after another."""
    with tempfile.TemporaryDirectory(prefix="pve402-bench-") as folder:
        catalogue = pausing.write_catalogue(Path(folder), copying.RATE)
        with copying.without_shells():
            return await _measure({**_SETTINGS, "PVE402_CATALOGUE": str(catalogue)})


async def _measure(settings: Mapping[str, str]) -> list[rows.Row]:
    taken: dict[str, list[tuple[float, int]]] = {name: [] for name in OPERATIONS}
    async with worlds.installation("sqlite", latency_scale=1.0, **settings) as (parts, where):
        calls = _count(parts)
        async with parts:
            tenant = await copying.Tenant.rich(parts, where)
            made = await tenant.buy(bench_sagas._wish())
            for _ in range(TURNS):
                for name, do in OPERATIONS.items():
                    row = await parts.leases.find(made.lease_id)
                    before, began = len(calls), time.perf_counter()
                    await do(tenant, row)
                    taken[name].append((time.perf_counter() - began, len(calls) - before))
                    if name in _ENDS:
                        await tenant.end_all()
    return [_row(name, found) for name, found in taken.items()]


async def _take(tenant: copying.Tenant, row: lease.Lease) -> None:
    await tenant.parts.leases.snapshots.check_take(row, "bench")
    await tenant.parts.leases.snapshots.take(row, "bench")


async def _roll_back(tenant: copying.Tenant, row: lease.Lease) -> None:
    await tenant.parts.leases.snapshots.check_roll_back(row, "bench")
    await tenant.parts.leases.snapshots.roll_back(row, "bench")


async def _delete(tenant: copying.Tenant, row: lease.Lease) -> None:
    await tenant.parts.leases.snapshots.check_change(row, "bench")
    await tenant.parts.leases.snapshots.delete(row, "bench")


async def _pause(tenant: copying.Tenant, row: lease.Lease) -> None:
    await tenant.parts.leases.check_pause(row)
    await tenant.parts.leases.pause(row)


async def _stop(tenant: copying.Tenant, row: lease.Lease) -> None:
    await tenant.parts.leases.check_switch(row)
    await tenant.parts.leases.stop(row)


async def _start(tenant: copying.Tenant, row: lease.Lease) -> None:
    await tenant.parts.leases.check_start(row)
    await tenant.parts.leases.start(row)


FORK, FROM_IMAGE = f"a fork of {copying.COPIES}, until all run", "a container from it"
OPERATIONS: dict[str, Operation] = {
    "a snapshot": _take,
    "a rollback, until it runs again": _roll_back,
    "the end of a snapshot": _delete,
    "a stop": _stop,
    "a private image": copying.Tenant.save,
    FROM_IMAGE: copying.Tenant.lease_from_image,
    "a start": _start,
    "a pause, until it burns less": _pause,
    "a wake": _start,
    "a reinstallation, until it runs": copying.Tenant.reinstall,
    FORK: copying.Tenant.fork,
}
_ENDS = {FORK, FROM_IMAGE}
"""After these, all that was made is ended before the next is measured."""


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
