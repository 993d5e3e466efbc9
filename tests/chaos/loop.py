"""One run of the kill loop: tenants, weather and reaper together, then calm, then the audit."""

import asyncio
import contextlib
import dataclasses
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.chaos import audit, nursery, reaper, stage, tenants, weather

from pve402.domain import order
from pve402.storage import tables

_CLOCK_AHEAD_SECONDS = 7200.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """How far a run goes: so many leases, and no longer than that."""

    database_url: str
    replicas: int = 1
    leases: int = 100
    tenants: int = 12
    most_seconds: float = 90.0  # of load; the calm afterwards has limits of its own
    life_seconds: float = 3.0  # of a server
    spared: int = 0  # servers that are not killed
    fair: bool = False  # nobody is killed and nothing fails
    seed: int = 402
    settle_seconds: float = 90.0
    after_load: Callable[[stage.Stage], None] | None = None


@dataclasses.dataclass(kw_only=True)
class Figures:
    """What a run came to."""

    leases: int = 0
    renewals: int = 0
    refused: Counter[str] = dataclasses.field(default_factory=Counter)
    spoiled: Counter[str] = dataclasses.field(default_factory=Counter)
    kills: Counter[str] = dataclasses.field(default_factory=Counter)
    stalls: int = 0
    weather: dict[str, int] = dataclasses.field(default_factory=dict)
    answers: dict[str, int] = dataclasses.field(default_factory=dict)
    transfers: int = 0
    leftovers: int = 0  # guests locked for creation by tasks that died
    load_seconds: float = 0.0
    calm_seconds: float = 0.0
    over_seconds: float = 0.0
    exit_codes: list[int] = dataclasses.field(default_factory=list)
    violations: list[str] = dataclasses.field(default_factory=list)


async def run(plan: Plan, folder: Path) -> Figures:
    """Run it all and return the figures; the servers' logs stay in the folder."""
    figures = Figures()
    async with stage.open_stage(folder, plan.database_url, plan.replicas) as where:
        book = await _load(plan, where, figures)
        figures.calm_seconds = await _come_to_rest(plan, where, figures)
        figures.exit_codes = [await one.end(signal.SIGTERM) for one in where.replicas]
        if any(figures.exit_codes):
            figures.violations.append(f"SIGTERM ended servers with {figures.exit_codes}")
        found = await audit.read(where, book.signed, nursery.MINUTE_SECONDS)
        figures.violations += audit.violations(found)
        _count(figures, book, found)
        figures.over_seconds = await _let_all_expire(plan, where, figures)
    return figures


async def _load(plan: Plan, where: stage.Stage, figures: Figures) -> tenants.Book:
    """Let tenants work while servers die and outside systems fail."""
    dice = random.Random(plan.seed)
    death = reaper.Reaper(
        stage=where,
        dice=dice,
        longest_life_seconds=plan.life_seconds,
        stall_share=0.25 if plan.replicas > 1 else 0.0,
    )
    storm = weather.Weather(stage=where, dice=dice)
    began = time.monotonic()
    book = tenants.Book(leases_wanted=plan.leases, give_up_at=began + plan.most_seconds)
    ending = asyncio.Event()
    spared = plan.replicas if plan.fair else plan.spared
    for one in where.replicas[:spared]:
        await one.start()
    haunted = [death.haunt(one, ending) for one in where.replicas[spared:]]
    people = [tenants.Tenant(where, book, plan.seed + n) for n in range(plan.tenants)]
    async with asyncio.TaskGroup() as group:
        reapers = [group.create_task(haunt) for haunt in haunted]
        async with contextlib.nullcontext() if plan.fair else _blowing(storm):
            await asyncio.gather(*(person.live() for person in people))
        await where.calm()
        ending.set()
        await asyncio.gather(*reapers)
    figures.load_seconds = time.monotonic() - began
    figures.kills, figures.weather = death.kills, storm.happened
    figures.stalls = death.stalls
    figures.violations += [f"a server ended by itself: {words}" for words in death.unasked]
    return book


@contextlib.asynccontextmanager
async def _blowing(storm: weather.Weather) -> AsyncIterator[None]:
    task = asyncio.create_task(storm.blow())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _come_to_rest(plan: Plan, where: stage.Stage, figures: Figures) -> float:
    """Wait until every order has come to its end, with nobody helping."""
    began = time.monotonic()
    for replica in where.replicas:
        await replica.until_ready(where.session)
    while time.monotonic() - began < plan.settle_seconds:
        if await audit.is_at_rest(where):
            break
        await asyncio.sleep(0.5)
    else:
        figures.violations.append(f"orders were still open after {plan.settle_seconds:.0f} s")
    return time.monotonic() - began


async def _let_all_expire(plan: Plan, where: stage.Stage, figures: Figures) -> float:
    """Start one server hours later: every guest must be stopped, and then destroyed."""
    await where.clear_creation_locks()
    began = time.monotonic()
    last = where.replicas[0]
    await last.start(clock_ahead_seconds=_CLOCK_AHEAD_SECONDS)
    await last.until_ready(where.session)
    wrong: list[str] = []
    while time.monotonic() - began < plan.settle_seconds:
        rows = await audit.read_rows(where.database_url, tables.leases)
        wrong = audit.after_expiry(map(audit.lease.Lease.from_row, rows), await where.guests())
        if not wrong:
            break
        await asyncio.sleep(0.5)
    figures.violations += wrong
    figures.exit_codes.append(await last.end(signal.SIGTERM))
    return time.monotonic() - began


def _count(figures: Figures, book: tenants.Book, found: audit.Findings) -> None:
    settled = [one for one in found.orders if one.status is order.OrderStatus.SETTLED]
    figures.leases = sum(one.kind is order.OrderKind.CREATION for one in settled)
    figures.renewals = sum(one.kind is order.OrderKind.RENEWAL for one in settled)
    figures.refused = Counter(one.refusal for one in found.orders if one.refusal)
    figures.transfers = len(found.transfers)
    figures.leftovers = len(audit.leftovers(found))
    figures.answers = book.statuses
    paid = {transfer.nonce for transfer in found.transfers}
    for one in book.signed:
        if one.spoiled is not None:
            fate = "charged" if one.nonce in paid else "not charged"
            early = "in time" if one.spoiled_in_time else "too late"
            figures.spoiled[f"{one.kind}, {one.spoiled}, {early}: {fate}"] += 1


def table(figures: Figures) -> str:
    """The figures as a table for people."""
    lines = [
        f"leases {figures.leases}, renewals {figures.renewals}, transfers {figures.transfers}",
        f"load {figures.load_seconds:.0f} s, at rest {figures.calm_seconds:.0f} s later",
        f"hours later, all was stopped and gone after {figures.over_seconds:.0f} s",
        f"kills {figures.kills.total()} at {len(figures.kills)} points, stalls {figures.stalls}",
    ]
    lines += [f"  {count:5} {point}" for point, count in sorted(figures.kills.items())]
    missed = sorted(set(reaper.crash_points.POINTS) - set(figures.kills))
    lines.append(f"points never come to: {', '.join(missed) or 'none'}")
    for title, counted in (
        ("bad payments", figures.spoiled),
        ("refused orders", figures.refused),
        ("weather", figures.weather),
        ("answers", figures.answers),
    ):
        shown = ", ".join(f"{name} {count}" for name, count in sorted(counted.items()))
        lines.append(f"{title}: {shown}")
    lines.append(f"guests left locked for creation: {figures.leftovers}")
    lines.append(f"exit codes after SIGTERM: {figures.exit_codes}")
    lines.append(f"violations: {len(figures.violations)}")
    lines += [f"  {words}" for words in figures.violations[:40]]
    return "\n".join(lines)
