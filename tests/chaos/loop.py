"""One run of the kill loop: tenants, weather and reaper together, then calm, then the audit."""

import asyncio
import contextlib
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

from tests.chaos import audit, evidence, nursery, reaper, rest, running, stage, tenants, weather
from tests.chaos.ledger import Ledger
from tests.chaos.plan import Figures, Plan

from pve402.domain import lease, oci, order, private_images
from pve402.storage import tables

_CLOCK_AHEAD_SECONDS = 7200.0


async def run(plan: Plan, folder: Path) -> Figures:
    """Run it all and return the figures; the servers' logs stay in the folder."""
    figures = Figures()
    async with stage.open_stage(folder, plan.database_url, plan.replicas, plan.settings) as where:
        if plan.before is not None:
            await plan.before(where)
        ledger = await _load(plan, where, figures)
        figures.calm_seconds = await _come_to_rest(plan, where, figures)
        figures.exit_codes = [await one.end(signal.SIGTERM) for one in where.replicas]
        found = await evidence.read(
            where,
            ledger.signed,
            nursery.MINUTE_SECONDS,
            wishes=ledger.wishes,
            unpaid_seconds=plan.unpaid_seconds,
            asked=ledger.asked,
            blocks_vanish=plan.blocks_vanish,
        )
        figures.violations += ledger.violations + audit.violations(found)
        _count(figures, ledger, found)
        if plan.expiry:
            figures.over_seconds = await _let_all_expire(plan, where, figures)
        if any(figures.exit_codes):
            figures.violations.append(f"SIGTERM ended servers with {figures.exit_codes}")
    return figures


async def _load(plan: Plan, where: stage.Stage, figures: Figures) -> Ledger:
    """Let tenants work while servers die and outside systems fail."""
    dice = random.Random(plan.seed)
    death = reaper.Reaper(where=where, dice=dice, orders=plan)
    storm = weather.Weather(where=where, dice=dice)
    for one in where.replicas[: plan.spared]:  # they are up before anything is disturbed
        await one.start()
        await one.until_ready(where.session)
    began = time.monotonic()
    ledger = Ledger(
        leases_wanted=plan.leases,
        give_up_at=began + plan.most_seconds,
        least_leases=plan.least_leases,
        is_disturbed=lambda: death.kills.total() >= plan.least_kills,
        last_at=began + 4 * plan.most_seconds,
        spoiled_share=plan.spoiled_share,
        contract_share=plan.contract_share,
        blocks_vanish=plan.blocks_vanish,
        pause_seconds=plan.pause_seconds,
    )
    people = [tenants.Tenant(where, ledger, plan.seed + n) for n in range(plan.tenants)]
    async with asyncio.TaskGroup() as group:
        ending = asyncio.Event()
        reapers = [
            group.create_task(death.haunt(one, ending)) for one in where.replicas[plan.spared :]
        ]
        async with contextlib.AsyncExitStack() as beside:
            if plan.weather:
                await beside.enter_async_context(_beside(storm.blow()))
            if plan.during is not None:
                await beside.enter_async_context(_beside(plan.during(where)))
            await asyncio.gather(*(person.live() for person in people))
        await where.calm()
        ending.set()
        await asyncio.gather(*reapers)
    figures.load_seconds = time.monotonic() - began
    figures.kills, figures.stalls = death.kills, death.stalls
    figures.weather = Counter(storm.happened)
    figures.violations += [f"a server ended by itself: {words}" for words in death.unasked]
    return ledger


@contextlib.asynccontextmanager
async def _beside(work: Awaitable[None]) -> AsyncIterator[None]:
    """Run something beside the block; what goes wrong with it is raised at the end."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _come_to_rest(plan: Plan, where: stage.Stage, figures: Figures) -> float:
    """Wait until every order has come to its end, with nobody helping unless one waits for root."""
    began = time.monotonic()
    for replica in where.replicas:
        await replica.until_ready(where.session)
    while time.monotonic() - began < plan.settle_seconds:
        if await rest.is_at_rest(where):
            break
        if await rest.waits_for_root(where):
            await where.clear_creation_locks()
            figures.weather["root helps at rest"] += 1
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
        rows = await evidence.read_rows(where.database_url, tables.leases)
        leases, volumes = map(lease.Lease.from_row, rows), (await where.stored())["volumes"]
        wrong = audit.after_expiry(leases, await where.guests(), volumes)
        if not wrong:
            break
        await asyncio.sleep(0.5)
    figures.violations += wrong
    figures.exit_codes.append(await last.end(signal.SIGTERM))
    return time.monotonic() - began


def _count(figures: Figures, ledger: Ledger, found: evidence.Findings) -> None:
    settled = [one for one in found.orders if one.status is order.OrderStatus.SETTLED]
    figures.leases = sum(one.kind is order.OrderKind.CREATION for one in settled)
    figures.renewals = sum(one.kind is order.OrderKind.RENEWAL for one in settled)
    figures.refused = Counter(one.refusal for one in found.orders if one.refusal)
    figures.transfers = len(found.transfers)
    figures.leftovers = len(audit.leftovers(found))
    figures.answers = ledger.statuses
    figures.kept = ledger.kept
    figures.lives = Counter(_kind_of(row) for row in found.leases if row.handed_over)
    figures.lives["paused when idle"] = sum(map(running.pauses_by_itself, found.leases))
    figures.unpaid_seconds = running.longest_unpaid_seconds(found.orders, found.runs, found.served)
    figures.switched = Counter(
        f"{wish.wanted.value}, {'answered' if wish.answered_at else 'outcome unknown'}"
        for wish in ledger.wishes
    )
    paid = {transfer.nonce for transfer in found.transfers}
    for one in ledger.signed:
        fate = "charged" if one.nonce in paid else "not charged"
        if one.payer.kind.has_code:
            figures.contracts[f"{one.kind}, {one.payer.kind.name}: {fate}"] += 1
        if one.spoiled is not None:
            early = "in time" if one.spoiled_in_time else "too late"
            figures.spoiled[f"{one.kind}, {one.spoiled}, {early}: {fate}"] += 1


def _kind_of(row: lease.Lease) -> str:
    if row.is_private_image:
        return "private image"
    if row.forked_from is not None:
        return "copy"
    if private_images.chosen(row.template) is not None:
        return "of a private image"
    return "of an OCI image" if oci.is_file(row.template) else "unpacked"
