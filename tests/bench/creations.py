"""What a creation takes beyond Proxmox VE and the chain, and how a long list is answered.

The world is in another process and its work takes no time. Of each creation, the time in which one
of its own calls to Proxmox VE, facilitator or chain was under way is taken off; what is left is
ours: transactions, pauses between two looks at a task, and waiting for a turn.
"""

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from tests.bench import bench_sagas, rows, worlds
from tests.chaos import stage, world

from pve402 import bootstrap
from pve402.domain import lease, mark
from pve402.leases import service, views
from pve402.storage import lease_rows, tables

ALONE = 60
TOGETHER = 160
AT_ONCE = 8
LISTED = 1000
_OWNER = "eip155:84532:0x" + "ab" * 20

Interval = tuple[float, float]
_outside: contextvars.ContextVar[list[Interval] | None] = contextvars.ContextVar(
    "outside", default=None
)


async def measure() -> list[rows.Row]:
    """Creations alone and together, then a list of many leases, on SQLite."""
    async with worlds.installation("sqlite", PVE402_MAX_UNSETTLED_PER_WALLET="100000") as made:
        parts, where = made
        _watch(parts)
        async with parts:
            purchases = await bench_sagas._purchases(parts, where, ALONE + TOGETHER + 5)
            for _ in range(5):
                await _create(parts, purchases.pop())
            worlds.settle_heap()
            before = time.process_time()
            alone = [await _create(parts, purchases.pop()) for _ in range(ALONE)]
            between = time.process_time()
            together = await _together(parts, purchases)
            after = time.process_time()
            listed, calls = await _list(parts, where)
    alone_cpu, together_cpu = (between - before) / ALONE, (after - between) / TOGETHER
    title = "creation beyond Proxmox's and the chain's time"
    return [
        _row(f"{title}, alone", alone, alone_cpu, "p50 < 50 ms"),
        _row(f"the same, {AT_ONCE} at once", together, together_cpu, "p50 < 100, p99 < 200 ms"),
        rows.Row(
            what=f"list of {LISTED:,} leases, beyond the call to Proxmox",
            ours=f"{listed * 1e3:.0f} ms, {calls:.0f} call",
            beside=f"{LISTED:,} status calls",
            peer="-",
            ratio=f"{LISTED / calls:,.0f} by calls",
            aim="one call, < 50 ms",
        ),
    ]


def _row(what: str, own: list[tuple[float, float]], cpu_seconds: float, aim: str) -> rows.Row:
    ours, whole = [a for a, _ in own], [b for _, b in own]
    return rows.Row(
        what=what,
        ours=f"p50 / p99 {worlds.milliseconds(ours)} ms, {cpu_seconds * 1e3:.0f} ms CPU",
        beside="the whole creation",
        peer=f"p50 / p99 {worlds.milliseconds(whole)} ms",
        ratio=f"{median(ours) / median(whole):.2f}",
        aim=aim,
    )


async def _together(
    parts: bootstrap.Components, purchases: list[service.Purchase]
) -> list[tuple[float, float]]:
    done: list[tuple[float, float]] = []

    async def work() -> None:
        while purchases:
            done.append(await _create(parts, purchases.pop()))

    await asyncio.gather(*(asyncio.create_task(work()) for _ in range(AT_ONCE)))
    return done


async def _create(parts: bootstrap.Components, purchase: service.Purchase) -> tuple[float, float]:
    """Lease one container; seconds of our own, and of the whole."""
    calls: list[Interval] = []
    _outside.set(calls)  # the workflow's task inherits it
    began = time.perf_counter()
    await parts.leases.create(bench_sagas._wish(), purchase)
    whole = time.perf_counter() - began
    return whole - _covered(calls, began, began + whole), whole


def _watch(parts: bootstrap.Components) -> None:
    """Note when calls to the outside are under way."""
    watched: list[tuple[Any, str]] = [(parts.proxmox, "request")]
    for route in parts.settler._routes.values():
        watched += [(route.facilitator, "verify"), (route.facilitator, "settle")]
        watched.append((route.chain._rpc, "call"))
    for owner, name in watched:
        setattr(owner, name, _noting(getattr(owner, name)))


def _noting(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def noting(*arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return await call(*arguments, **named)
        finally:
            calls = _outside.get()
            if calls is not None:
                calls.append((began, time.perf_counter()))

    return noting


def _covered(intervals: list[Interval], began: float, ended: float) -> float:
    """How long at least one of the intervals lasted, within the whole."""
    covered, until = 0.0, began
    for start, end in sorted(intervals):
        low, high = max(start, until), min(end, ended)
        if high > low:
            covered, until = covered + high - low, high
    return covered


async def _list(parts: bootstrap.Components, where: stage.Stage) -> tuple[float, float]:
    """List the leases of somebody with very many: seconds beyond the call to Proxmox, and calls."""
    await parts.lease_worker.stop()
    ids = await _insert(parts)
    await _stand(parts, where, ids)
    asked: list[Interval] = []
    caller, times = service.Caller(owner=_OWNER), list[float]()
    _outside.set(asked)
    views.FRESH_SECONDS = -1.0  # as if nobody had looked for a while
    for _ in range(15):
        before, began = len(asked), time.perf_counter()
        found = await parts.leases.list_leases(caller)
        ended = time.perf_counter()
        times.append(ended - began - _covered(asked[before:], began, ended))
        assert len(found) == LISTED
        assert all(view.guest is not None for view in found)
    return median(times), len(asked) / len(times)


async def _insert(parts: bootstrap.Components) -> list[str]:
    ids = [f"l{number:025d}" for number in range(LISTED)]
    async with parts.db.begin() as tx:
        for number, lease_id in enumerate(ids):
            row = lease.Lease(
                lease_id=lease_id,
                status=lease.LeaseStatus.SETTLING,
                node=world.NODES[number % len(world.NODES)],
                vmid=50_000 + number,
                owner=_OWNER,
                sku="standard-lxc",
                size=lease.Size(cores=1, memory_mb=128, disk_gb=1),
                hostname="bench",
                template="",
                rates={},
                created_at=await parts.db.time_in(tx),
            )
            await lease_rows.insert(parts.db, tx, row, due=False)
        ends = parts.db.now(3600)
        mine = tables.leases.update().where(tables.leases.c.owner == _OWNER)
        await tx.execute(mine.values(status=lease.LeaseStatus.ACTIVE.value, expires_at=ends))
    return ids


async def _stand(parts: bootstrap.Components, where: stage.Stage, ids: list[str]) -> None:
    tag = mark.instance_tag(parts.lease_options.instance)
    guests = [
        {
            "vmid": 50_000 + number,
            "node": world.NODES[number % len(world.NODES)],
            "tags": f"{tag};{mark.lease_tag(lease_id)}",
        }
        for number, lease_id in enumerate(ids)
    ]
    hand = f"{where.addresses['hand']}/guests"
    async with where.session.post(hand, json=guests) as response:
        response.raise_for_status()
    for _ in range(100):
        if len((await parts.view.fresh(0.0)).guests) >= LISTED:
            return
        await asyncio.sleep(0.2)
    raise TimeoutError("the guests are not in the list")
