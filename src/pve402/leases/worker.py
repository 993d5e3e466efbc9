"""Takes due orders and leases and runs their workflows; one per process, any number of processes.

Orders come before leases, so that a renewal being paid is seen before the expiry. A process keeps
its rows by extending their time limit; the rows of a dead process fall due, and the next process
that polls takes them. No error ends the loop.
"""

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence

import structlog

from pve402.domain import errors, lease, order
from pve402.leases import (
    confirmation,
    creation,
    fork_steps,
    lifetime,
    metrics,
    moves,
    options,
    renewal,
    warm_pool,
    workflow,
)
from pve402.leases.images import preparing, trials
from pve402.proxmox import errors as pve
from pve402.storage import database, oci_rows, order_rows, queue, user_data_rows

log = structlog.get_logger(__name__)

_KINDS = (order_rows.DUE, moves.DUE, user_data_rows.DUE, oci_rows.DUE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Workflows:
    """The workflows for due rows."""

    creation: creation.Creation
    renewal: renewal.Renewal
    confirmation: confirmation.Confirmation
    lifetime: lifetime.Lifetime
    late: Callable[[order.Order], Awaitable[None]]  # the watch over refused orders
    fee: Callable[[order.Order], Awaitable[None]]
    filling: warm_pool.Filling
    preparing: preparing.Preparing
    trials: trials.Trials  # what a doctor that died has left
    fork_ends: fork_steps.ForkEnds
    user_data: Callable[[queue.Row], Awaitable[None]]  # tenants' scripts in new guests
    oci_file: Callable[[queue.Row], Awaitable[None]]  # an OCI image's file on a node


class Worker:
    """Runs workflows: for new orders at once, for other rows when they fall due."""

    def __init__(
        self, db: database.Database, workflows: Workflows, settings: options.WorkerOptions
    ) -> None:
        self._db = db
        self._workflows = workflows
        self._settings = settings
        self._held: dict[tuple[queue.DueRows, str], str] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._is_full = False  # for some kind of row, we take no more until some are done
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._taking: list[asyncio.Task[None]] = []  # the latest; it may be over
        self.recovered = False

    async def start(self) -> None:
        """Poll once, so that recovery has started, then continue in the background."""
        if self._db.is_sqlite:
            await self._take_over_all()
        await self._take_due()
        self.recovered = True
        self._loops = [
            asyncio.create_task(self._loop(self._take_due, self._pause), name="worker"),
            asyncio.create_task(self._loop(self._keep, self._keep_pause), name="worker-keep"),
        ]

    async def stop(self, limit_seconds: float = 20.0) -> None:
        """Take no new rows, let running workflows finish, hand the rest over."""
        await _cancel(self._loops[:1])
        if under_way := [*self._taking, *self._running]:
            await asyncio.wait(under_way, timeout=limit_seconds)
        unfinished = list(self._held.items())
        await _cancel([*self._taking, *self._running, *self._loops[1:]])
        await self._hand_over(unfinished)

    def begin(self, row: order.Order) -> None:
        """Work on an order that this process has just written with its own fence."""
        work = functools.partial(self._run_order, row)
        self._launch(order_rows.DUE, row.order_id, row.fence or "", work)

    def wake(self) -> None:
        """Poll now: a row has become due."""
        self._woken.set()

    @contextlib.contextmanager
    def changes_of(self, order_id: str) -> Iterator[asyncio.Event]:
        """Yield an event that is set whenever this process changes the order."""
        event = asyncio.Event()
        self._listeners.setdefault(order_id, set()).add(event)
        try:
            yield event
        finally:
            listeners = self._listeners[order_id]
            listeners.discard(event)
            if not listeners:
                del self._listeners[order_id]

    @property
    def busy(self) -> int:
        """Return how many rows this process is working on."""
        return len(self._running)

    async def _loop(
        self, action: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]]
    ) -> None:
        while True:
            try:
                await action()
            except errors.DatabaseUnavailable as error:
                log.warning("worker_without_database", error=workflow.reason_of(error))
            except Exception:
                log.exception("worker_loop_failed")
            await pause()

    async def _pause(self) -> None:
        """Sleep until a row falls due, something wakes us, or the idle limit ends."""
        roomy = [rows for rows in _KINDS if self._room(rows) > 0]
        self._is_full = len(roomy) < len(_KINDS)
        pause = min(self._settings.idle_seconds, await self._seconds_until_due(roomy))
        if pause > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()
        self._woken.clear()

    async def _seconds_until_due(self, among: Sequence[queue.DueRows]) -> float:
        try:
            async with self._db.read() as tx:
                return await queue.seconds_until_due(self._db, tx, among)
        except errors.DatabaseUnavailable:
            return self._settings.idle_seconds

    async def _take_over_all(self) -> None:
        """Take a dead process's rows without waiting: a SQLite file has one process at a time."""
        for rows in _KINDS:
            async with self._db.single() as tx:
                await rows.release_all(self._db, tx)

    async def _keep_pause(self) -> None:
        await asyncio.sleep(self._settings.hold_seconds / 3)

    async def _take_due(self) -> None:
        """Take due rows. A stop lets this finish, so that no row waits for its time limit."""
        for rows in _KINDS:
            if self._room(rows) > 0:
                self._taking = [asyncio.create_task(self._take(rows))]
                await asyncio.shield(self._taking[0])

    async def _take(self, rows: queue.DueRows) -> None:
        async with self._db.single() as tx:
            room = max(0, self._room(rows))  # orders may have begun while this waited to write
            taken = await rows.claim(
                self._db, tx, limit=room, hold_seconds=self._settings.hold_seconds
            )
        for row in taken:
            self._launch_row(rows, row)

    def _room(self, rows: queue.DueRows) -> int:
        """Return how many more rows of a kind this process may take."""
        settings = self._settings
        most = {
            order_rows.DUE: settings.orders_at_once,
            moves.DUE: settings.leases_at_once,
            user_data_rows.DUE: settings.scripts_at_once,
            oci_rows.DUE: settings.oci_files_at_once,
        }[rows]
        return most - sum(held is rows for held, _ in self._held)

    def _launch_row(self, rows: queue.DueRows, row: queue.Row) -> None:
        work: Callable[[], Awaitable[None]]
        if rows is order_rows.DUE:
            found = order.Order.from_row(row)
            key, work = found.order_id, functools.partial(self._run_order, found)
        elif rows is user_data_rows.DUE:
            key, work = row["order_id"], functools.partial(self._workflows.user_data, row)
        elif rows is oci_rows.DUE:
            key, work = row["file_id"], functools.partial(self._workflows.oci_file, row)
        else:
            due = lease.Lease.from_row(row)
            key, work = due.lease_id, functools.partial(self._run_lease, due)
        self._launch(rows, key, row["fence"], work)

    def _launch(
        self, rows: queue.DueRows, key: str, fence: str, work: Callable[[], Awaitable[None]]
    ) -> None:
        self._held[rows, key] = fence
        task = asyncio.ensure_future(self._guarded(rows, key, fence, work))
        self._running.add(task)
        metrics.BUSY.set(len(self._running))
        task.add_done_callback(self._ran)

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        metrics.BUSY.set(len(self._running))
        if self._is_full:
            self._woken.set()

    async def _guarded(
        self, rows: queue.DueRows, key: str, fence: str, work: Callable[[], Awaitable[None]]
    ) -> None:
        """Run one row's workflow and record its outcome; never raises."""
        try:
            with structlog.contextvars.bound_contextvars(row=key):
                await work()
        except queue.FenceLostError:
            log.info("row_taken_over", row=key)
        except workflow.RetryLater as later:
            await self._postpone(rows, key, fence, later)
        except (*workflow.TRANSIENT, pve.ProxmoxError) as error:
            await self._postpone(rows, key, fence, workflow.RetryLater(workflow.reason_of(error)))
        except Exception as error:
            log.exception("workflow_failed", row=key)
            metrics.FAILED.labels(rows.name).inc()
            await self._postpone(rows, key, fence, workflow.RetryLater(workflow.reason_of(error)))
        finally:
            if self._held.get((rows, key)) == fence:
                del self._held[rows, key]
            for event in self._listeners.get(key, ()):
                event.set()

    async def _postpone(
        self, rows: queue.DueRows, key: str, fence: str, later: workflow.RetryLater
    ) -> None:
        """Make a row due again after a pause, if it is still ours."""
        log.info("row_postponed", row=key, reason=later.reason)
        metrics.POSTPONED.labels(rows.name).inc()
        self._woken.set()
        pause = later.pause(self._settings.retry_pauses_seconds)
        with contextlib.suppress(queue.FenceLostError, errors.DatabaseUnavailable):
            async with self._db.single() as tx:
                await rows.postpone(self._db, tx, (key, fence), pause, later.reason)

    async def _run_order(self, row: order.Order) -> None:
        if row.status is order.OrderStatus.REFUSED:
            await self._workflows.late(row)
        elif row.kind is order.OrderKind.FEE:
            await self._workflows.fee(row)
        elif row.status is order.OrderStatus.SETTLED:
            await self._workflows.confirmation.run(row)
        elif row.kind is order.OrderKind.CREATION:
            await self._workflows.creation.run(row)
            if await self._workflows.fork_ends.after_order() or row.parts > 1:
                self.wake()
        else:
            await self._workflows.renewal.run(row)
            if await self._workflows.fork_ends.after_order():
                self.wake()

    async def _run_lease(self, row: lease.Lease) -> None:
        if row.is_image and row.status in self._workflows.preparing.steps:
            await self._workflows.preparing.run(row)
        elif row.is_trial:
            await self._workflows.trials.remove(row)
        elif (
            row.is_unowned
            and not row.is_private_image
            and row.status in self._workflows.filling.steps
        ):
            await self._workflows.filling.run(row)
        else:
            await self._workflows.lifetime.run(row)

    async def _keep(self) -> None:
        """Extend the time limit of all rows in work."""
        for rows in _KINDS:
            held = [(key, fence) for (kind, key), fence in self._held.items() if kind is rows]
            if held:
                async with self._db.single() as tx:
                    await rows.keep(self._db, tx, held, self._settings.hold_seconds)

    async def _hand_over(self, unfinished: Iterable[tuple[tuple[queue.DueRows, str], str]]) -> None:
        """Make unfinished rows due, so that other processes can take them."""
        for (rows, key), fence in unfinished:
            with contextlib.suppress(queue.FenceLostError, errors.DatabaseUnavailable):
                async with self._db.single() as tx:
                    await rows.give_back(self._db, tx, (key, fence))


async def _cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
