"""The warm pool: keeps a number of guests of each kind ready before tenants ask for them.

The filler is a reconciler. It works under the placement lock, so any number of replicas may run it.
It compares the guests that are ready or in creation with what the operator wants, adds missing
ones, a few at a time, and discards those that are surplus, from an old template, or no longer on
sale. Each new guest is a lease row without an owner, and a workflow of that row creates it:

    state of the lease   step                                         then
    RESERVED             ask Proxmox for the guest                    CREATING
    CREATING             wait for the creation task                   STARTING
    STARTING             start it, check that its shell answers       POOLED

A guest that fails on the way is destroyed (UNWINDING, then FAILED) and never retried; the next one
waits, longer after each failure. See pve402.leases.warm_guests for what happens to a sold guest.
"""

import asyncio
import contextlib
import functools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from pve402.domain import catalogue, errors, lease, placement, warm_kind
from pve402.leases import (
    cluster,
    deals,
    guest_networks,
    machine,
    metrics,
    moves,
    options,
    reservation,
    warm_guests,
    workflow,
)
from pve402.proxmox import errors as pve
from pve402.storage import database, drain_rows, lease_rows, queue, transaction

log = structlog.get_logger(__name__)

Status = lease.LeaseStatus
FAILED = "pool_failed"
SURPLUS = "pool_surplus"
_INTERVAL_SECONDS = 5.0
_MAKING_AT_ONCE = 2  # of one kind, so that paying tenants find write slots free
_TRIES = 5
_TROUBLE = (FAILED, warm_guests.BROKEN)
_TROUBLE_SECONDS = 900.0
_PAUSE_LEAST_SECONDS = 15.0
_PAUSE_MOST_SECONDS = 600.0


class Filler:
    """Orders guests for the warm pool and discards surplus ones."""

    def __init__(
        self,
        db: database.Database,
        view: cluster.ClusterView,
        settings: options.LeaseOptions,
        sku_catalogue: catalogue.Catalogue,
    ) -> None:
        self._db = db
        self._view = view
        self._settings = settings
        self._catalogue = sku_catalogue
        self._woken = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start filling in the background; without a pool, just discard any leftover guests."""
        self._loop = asyncio.create_task(self._run_for_ever(), name="warm-pool")

    async def stop(self) -> None:
        """Stop the background filling; the worker continues with guests in creation."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    def wake(self) -> None:
        """Check now: a guest may have been taken."""
        self._woken.set()

    async def run_once(self) -> None:
        """Add and discard guests to match what is wanted. Raises ProxmoxUnavailable."""
        async with self._db.read() as tx:
            drained = await drain_rows.names(tx)
            if not self._needs_change(await lease_rows.list_warm_pool(tx), drained):
                return
        rooms = {
            wanted: await self._view.rooms_for(self._template(wanted))
            for wanted in self._settings.warm_kinds
        }
        async with self._db.begin() as tx:
            await reservation.lock_placement(self._db, tx)
            rows = await lease_rows.list_warm_pool(tx)
            drained = await drain_rows.names(tx)
            for row in self._surplus(rows, drained):
                await self._discard(tx, row)
            staying = [row for row in rows if row.node not in drained]
            for wanted in self._settings.warm_kinds:
                await self._add(tx, wanted, staying, rooms[wanted])

    def _needs_change(self, rows: Sequence[lease.Lease], drained: frozenset[str]) -> bool:
        """Compare without a lock; also updates the operator's metrics."""
        for wanted in self._settings.warm_kinds:
            ready = [row for row in self._of(wanted, rows) if row.status is Status.POOLED]
            metrics.POOL.labels(wanted.sku, "ready").set(len(ready))
            metrics.POOL.labels(wanted.sku, "wanted").set(wanted.count)
        lacks = any(len(self._of(one, rows)) < one.count for one in self._settings.warm_kinds)
        return lacks or bool(self._surplus(rows, drained))

    def _of(self, wanted: warm_kind.WarmKind, rows: Sequence[lease.Lease]) -> list[lease.Lease]:
        """Return the guests of a kind, ready ones first."""
        sku = self._catalogue.sku(wanted.sku)
        network = self._catalogue.network_of(sku).name
        kind = (wanted.sku, wanted.size, self._template(wanted), network)
        mine = [row for row in rows if (row.sku, row.size, row.template, row.network) == kind]
        return sorted(mine, key=lambda row: row.status is not Status.POOLED)

    def _template(self, wanted: warm_kind.WarmKind) -> str:
        return self._catalogue.sku(wanted.sku).template_volume(
            None, self._settings.default_template
        )

    def _surplus(self, rows: Sequence[lease.Lease], drained: frozenset[str]) -> list[lease.Lease]:
        """Return surplus ready guests and those on drained nodes.

        Guests in creation count once they are ready.
        """
        staying = [row for row in rows if row.node not in drained]
        kept = {
            row.lease_id
            for wanted in self._settings.warm_kinds
            for row in self._of(wanted, staying)[: wanted.count]
        }
        return [row for row in rows if row.status is Status.POOLED and row.lease_id not in kept]

    async def _discard(self, tx: transaction.Transaction, row: lease.Lease) -> None:
        log.info("pool_discards", lease=row.lease_id, vmid=row.vmid)
        with contextlib.suppress(queue.FenceLostError):
            await moves.discard_warm(self._db, tx, row, SURPLUS)

    async def _add(
        self,
        tx: transaction.Transaction,
        wanted: warm_kind.WarmKind,
        rows: Sequence[lease.Lease],
        rooms: Sequence[placement.NodeRoom],
    ) -> None:
        mine = self._of(wanted, rows)
        making = sum(row.status is not Status.POOLED for row in mine)
        lacking = min(wanted.count - len(mine), _MAKING_AT_ONCE - making)
        if lacking <= 0 or await self._must_pause(tx, wanted):
            return
        with contextlib.suppress(errors.NoCapacity):  # tenants use the room; try again later
            for _ in range(lacking):
                await self._order(tx, wanted, rooms)

    async def _must_pause(self, tx: transaction.Transaction, wanted: warm_kind.WarmKind) -> bool:
        """Return whether guests of this kind failed so recently that the next would too."""
        since = self._db.now(-_TROUBLE_SECONDS)
        failed = await lease_rows.list_warm_failures(tx, _TROUBLE, since)
        times = [row.created_at for row in failed if (row.sku, row.size) == _kind(wanted)]
        if not times:
            return False
        pause = min(_PAUSE_MOST_SECONDS, _PAUSE_LEAST_SECONDS * 2.0 ** (len(times) - 1))
        return await self._db.time_in(tx) < max(times) + timedelta(seconds=pause)

    async def _order(
        self,
        tx: transaction.Transaction,
        wanted: warm_kind.WarmKind,
        rooms: Sequence[placement.NodeRoom],
    ) -> None:
        sku = self._catalogue.sku(wanted.sku)
        row = lease.Lease(
            lease_id=lease.new_lease_id(),
            status=Status.RESERVED,
            node="",  # chosen with its vmid in the reservation
            vmid=0,
            owner=lease.NOBODY,
            sku=sku.name,
            size=wanted.size,
            hostname="",
            template=self._template(wanted),
            rates=sku.rates.to_strings(),
            created_at=datetime.now(UTC),  # the insert writes the database's own time
        )
        await reservation.reserve(
            self._db,
            tx,
            row,
            self._settings,
            rooms=rooms,
            allowed=sku.nodes,
            network=self._catalogue.network_of(sku),
            due=True,
        )

    async def _run_for_ever(self) -> None:
        while True:
            try:
                await self.run_once()
                if not self._settings.warm_kinds:
                    return
            except errors.Pve402Error as error:
                log.warning("pool_not_filled", error=workflow.reason_of(error))
            except Exception:
                log.exception("pool_failed")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_INTERVAL_SECONDS):
                    await self._woken.wait()
            self._woken.clear()


def _kind(wanted: warm_kind.WarmKind) -> tuple[str, lease.Size]:
    return wanted.sku, wanted.size


class Filling:
    """Makes the guests that the filler ordered; holds no state between steps."""

    def __init__(
        self,
        db: database.Database,
        machines: machine.Machines,
        rekeying: warm_guests.Rekeying,
        guest_network: guest_networks.GuestNetworks,
    ) -> None:
        self._db = db
        self._networks = guest_network
        self._machines = machines
        self._rekeying = rekeying
        self.steps = {
            Status.RESERVED: workflow.Step(name="create", do=self._create),
            Status.CREATING: workflow.Step(name="await", do=self._await_guest),
            Status.STARTING: workflow.Step(name="start", do=self._start),
        }

    async def run(self, row: lease.Lease) -> None:
        """Take a warm guest's row as far as it goes.

        Raises RetryLater, FenceLostError, or a passing failure of Proxmox.
        """
        try:
            await workflow.run(self.steps, row, lambda row: row.status)
        except workflow.GiveUp as end:
            log.warning("pool_guest_failed", lease=row.lease_id, vmid=row.vmid, reason=end.reason)
            await self._unwind(row, end)

    async def _create(self, row: lease.Lease) -> lease.Lease:
        """Ask for the guest once; destroy the result of any earlier request."""
        if row.create_sent_at is not None:
            raise workflow.GiveUp(FAILED, "the outcome of the creation is not known")
        if not await self._machines.is_vmid_free(row.vmid):
            raise workflow.GiveUp(FAILED, "a foreign guest has the vmid")
        try:
            await self._networks.prepare(row)
            async with self._machines.turn_to_write(row.node):
                sent = await self._move(row, functools.partial(moves.note_create_sent, self._db))
                upid = await self._machines.ask_to_create(sent, machine.Secrets(), row.created_at)
        except pve.ProxmoxError as error:
            raise workflow.GiveUp(FAILED, workflow.reason_of(error)) from error
        return await self._move(sent, functools.partial(moves.begin_creating, upid=upid.text))

    async def _await_guest(self, row: lease.Lease) -> lease.Lease:
        try:
            await self._machines.wait_until_created(row, row.upid or "")
        except pve.ProxmoxError as error:
            raise _passing_or_final(row, error) from error
        return await self._move(row, moves.begin_starting)

    async def _start(self, row: lease.Lease) -> None:
        """Start the guest and test its shell; close the session, as any replica may sell it."""
        try:
            await self._machines.ensure_running(row)
            await self._rekeying.check(row)
        except (pve.ProxmoxError, warm_guests.NotReady, machine.GuestMovedError) as error:
            raise _passing_or_final(row, error) from error
        finally:
            await self._rekeying.leave(row)
        row = await self._connect(row)
        await self._move(row, functools.partial(moves.enter_warm_pool, self._db))
        log.info("pool_guest_ready", lease=row.lease_id, vmid=row.vmid, sku=row.sku)

    async def _connect(self, row: lease.Lease) -> lease.Lease:
        """Connect the guest, so that its tenant need not wait for it. Raises RetryLater."""
        try:
            row, again_at = await self._networks.advance(row, functools.partial(self._move, row))
        except pve.ProxmoxError as error:
            raise _passing_or_final(row, error) from error
        if again_at is not None:
            wait = (again_at - await self._db.time()).total_seconds()
            raise workflow.RetryLater("its isolation rules are new", after_seconds=max(wait, 0.05))
        return row

    async def _unwind(self, row: lease.Lease, end: workflow.GiveUp) -> None:
        async with self._db.begin() as tx:
            current = await lease_rows.get(tx, row.lease_id)
            if current is None or current.fence != row.fence:
                raise queue.FenceLostError
            await moves.unwind(self._db, tx, current, end.refusal, end.reason)

    async def _move(self, row: lease.Lease, move: deals.Move) -> lease.Lease:
        async with self._db.begin() as tx:
            return await move(tx, row)


def _passing_or_final(row: lease.Lease, error: Exception) -> Exception:
    """Turn a failure into a few retries of this guest, or giving it up."""
    reason = workflow.reason_of(error)
    passing = isinstance(error, (*workflow.TRANSIENT, warm_guests.NotReady))
    if passing and row.attempts < _TRIES:
        return workflow.RetryLater(reason)
    return workflow.GiveUp(FAILED, reason)
