"""The warm pool: keeps a number of guests of each kind ready before tenants ask for them.

The filler is a reconciler. It works under the placement lock, so any number of replicas may run it.
It compares the guests that are ready or in creation with what the operator wants, adds missing ones
as fast as a node makes them (few while tenants wait for theirs), and discards those that are
surplus, would be made differently by the catalogue on sale, or are no longer on sale. Each new
guest is a lease row without an owner, and a workflow of that row creates it:

    state of the lease   step                                         then
    RESERVED             ask Proxmox for the guest                    CREATING
    CREATING             wait for the creation task                   STARTING
    STARTING             start it, check that its shell answers       POOLED

A guest that fails on the way is destroyed (UNWINDING, then FAILED) and never retried; the next one
waits, longer after each failure. See pve402.leases.warm_guests for what happens to a sold guest.
"""

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from pve402.domain import catalogue, errors, lease, making, networks, placement, warm_kind
from pve402.leases import (
    clones,
    cluster,
    deals,
    guest_networks,
    machine,
    making_turns,
    metrics,
    moves,
    oci_guests,
    on_sale,
    options,
    reservation,
    rounds,
    warm_guests,
    workflow,
)
from pve402.proxmox import errors as pve
from pve402.storage import creation_rows, database, drain_rows, lease_rows, queue, transaction

log = structlog.get_logger(__name__)

Status = lease.LeaseStatus
FAILED = "pool_failed"
SURPLUS = "pool_surplus"
_INTERVAL_SECONDS = 5.0
_MAKING_BESIDE_TENANTS = 2  # of one kind, while tenants wait for guests of their own
_TRIES = 5
_TROUBLE = (FAILED, warm_guests.BROKEN)
_TROUBLE_SECONDS = 900.0
_PAUSE_LEAST_SECONDS = 15.0
_PAUSE_MOST_SECONDS = 600.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """What the operator wants ready, and how the catalogue on sale makes it."""

    wanted: warm_kind.WarmKind
    sku: catalogue.Sku
    template: str
    how: making.Making

    def of(self, rows: Sequence[lease.Lease]) -> list[lease.Lease]:
        """Return the guests that are of this kind and would be made the same way, ready first."""
        mine = [row for row in rows if self._is_of(row)]
        return sorted(mine, key=lambda row: row.status is not Status.POOLED)

    def _is_of(self, row: lease.Lease) -> bool:
        found = (row.sku, row.size, row.template, row.network, row.made_of)
        how, wanted = self.how, self.wanted
        kind = (wanted.sku, wanted.size, self.template, how.network.name, how.made_of)
        return found == kind and how.network.hands_out(row.addresses.values())


class Filler:
    """Orders guests for the warm pool and discards surplus ones."""

    def __init__(
        self,
        db: database.Database,
        view: cluster.ClusterView,
        settings: options.LeaseOptions,
        selling: on_sale.OnSale,
    ) -> None:
        self._db = db
        self._view = view
        self._settings = settings
        self._on_sale = selling
        self._rounds = rounds.Rounds("warm-pool", self._run, _INTERVAL_SECONDS)
        self._on_ordered: Callable[[], None] = lambda: None
        selling.when_replaced(self._rounds.wake)

    def start(self, *, on_ordered: Callable[[], None]) -> None:
        """Start filling in the background; without a pool, just discard any leftover guests.

        `on_ordered` is called whenever guests may have been ordered.
        """
        self._on_ordered = on_ordered
        self._rounds.start()

    async def stop(self) -> None:
        """Stop the background filling; the worker continues with guests in creation."""
        await self._rounds.stop()

    def wake(self) -> None:
        """Check now: a guest may have been taken, or another one is ready."""
        self._rounds.wake()

    async def run_once(self) -> None:
        """Add and discard guests to match what is wanted. Raises ProxmoxUnavailable."""
        kinds = self._kinds()
        async with self._db.read() as tx:
            drained = await drain_rows.names(tx)
            if not _needs_change(kinds, await lease_rows.list_warm_pool(tx), drained):
                return
        rooms = [await self._view.rooms_for(kind.template) for kind in kinds]
        async with self._db.begin() as tx:
            await reservation.lock_placement(self._db, tx)
            rows = await lease_rows.list_warm_pool(tx)
            drained = await drain_rows.names(tx)
            for row in _surplus(kinds, rows, drained):
                await self._discard(tx, row)
            staying = [row for row in rows if row.node not in drained]
            at_once = await self._at_once(tx)
            for kind, usable in zip(kinds, rooms, strict=True):
                await self._add(tx, kind, staying, usable, at_once)
        self._on_ordered()

    async def _at_once(self, tx: transaction.Transaction) -> int:
        """Return how many guests of one kind to make at a time: tenants go first."""
        if await creation_rows.count_of_tenants(tx):
            return _MAKING_BESIDE_TENANTS
        return max(_MAKING_BESIDE_TENANTS, making_turns.of_pool(self._settings))

    def _kinds(self) -> list[Kind]:
        """Return what to keep ready, as it would be made now; not what is no longer on sale."""
        selling, default = self._on_sale.now, self._settings.default_template
        return [
            Kind(
                wanted=wanted,
                sku=sku,
                template=sku.template_volume(None, default),
                how=making.of_sku(selling, sku),
            )
            for wanted in self._settings.warm_kinds
            if (sku := selling.skus.get(wanted.sku)) is not None
        ]

    async def _discard(self, tx: transaction.Transaction, row: lease.Lease) -> None:
        log.info("pool_discards", lease=row.lease_id, vmid=row.vmid)
        with contextlib.suppress(queue.FenceLostError):
            await moves.discard_warm(self._db, tx, row, SURPLUS)

    async def _add(
        self,
        tx: transaction.Transaction,
        kind: Kind,
        rows: Sequence[lease.Lease],
        rooms: Sequence[placement.NodeRoom],
        at_once: int,
    ) -> None:
        mine = kind.of(rows)
        being_made = sum(_is_being_made(row) for row in mine)
        lacking = min(kind.wanted.count - len(mine), at_once - being_made)
        if lacking <= 0 or await self._must_pause(tx, kind.wanted):
            return
        with contextlib.suppress(errors.NoCapacity):  # tenants use the room; try again later
            for _ in range(lacking):
                await self._order(tx, kind, rooms)

    async def _must_pause(self, tx: transaction.Transaction, wanted: warm_kind.WarmKind) -> bool:
        """Return whether guests of this kind failed so recently that the next would too."""
        since = self._db.now(-_TROUBLE_SECONDS)
        failed = await lease_rows.list_warm_failures(tx, _TROUBLE, since)
        times = sorted(row.created_at for row in failed if (row.sku, row.size) == _kind(wanted))
        if not times:
            return False
        # Those that were ordered together most likely failed for one reason.
        apart = timedelta(seconds=_INTERVAL_SECONDS)
        times_over = sum(later - earlier > apart for earlier, later in itertools.pairwise(times))
        pause = min(_PAUSE_MOST_SECONDS, _PAUSE_LEAST_SECONDS * 2.0**times_over)
        return await self._db.time_in(tx) < times[-1] + timedelta(seconds=pause)

    async def _order(
        self, tx: transaction.Transaction, kind: Kind, rooms: Sequence[placement.NodeRoom]
    ) -> None:
        row = lease.Lease(
            lease_id=lease.new_lease_id(),
            status=Status.RESERVED,
            node="",  # chosen with its vmid in the reservation
            vmid=0,
            owner=lease.NOBODY,
            sku=kind.sku.name,
            size=kind.wanted.size,
            hostname="",
            template=kind.template,
            rates=kind.sku.rates.to_strings(),
            created_at=datetime.now(UTC),  # the insert writes the database's own time
        )
        await reservation.reserve(
            self._db, tx, row, self._settings, rooms=rooms, how=kind.how, due=True
        )

    async def _run(self) -> None:
        await self.run_once()
        if not self._settings.warm_kinds:
            self._rounds.pause_seconds = None


def _needs_change(
    kinds: Sequence[Kind], rows: Sequence[lease.Lease], drained: frozenset[str]
) -> bool:
    """Compare without a lock; also updates the operator's metrics."""
    for kind in kinds:
        ready = [row for row in kind.of(rows) if row.status is Status.POOLED]
        metrics.POOL.labels(kind.sku.name, "ready").set(len(ready))
        metrics.POOL.labels(kind.sku.name, "wanted").set(kind.wanted.count)
    lacks = any(len(kind.of(rows)) < kind.wanted.count for kind in kinds)
    return lacks or bool(_surplus(kinds, rows, drained))


def _surplus(
    kinds: Sequence[Kind], rows: Sequence[lease.Lease], drained: frozenset[str]
) -> list[lease.Lease]:
    """Return surplus ready guests and those on drained nodes.

    Guests in creation count once they are ready.
    """
    staying = [row for row in rows if row.node not in drained]
    kept = {row.lease_id for kind in kinds for row in kind.of(staying)[: kind.wanted.count]}
    return [row for row in rows if row.status is Status.POOLED and row.lease_id not in kept]


def _is_being_made(row: lease.Lease) -> bool:
    """Return whether a guest keeps its node busy; one whose card waits for its rules does not."""
    waits = row.link is networks.Link.PENDING and row.rules_at is not None
    return row.status is not Status.POOLED and not waits


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
        settings: options.LeaseOptions,
        cloning: clones.Clones,
        *,
        oci: oci_guests.OciGuests,
        on_made: Callable[[], None] = lambda: None,
    ) -> None:
        """Keep the parts; `on_made` is called when a guest no longer keeps its node busy."""
        self._db = db
        self._on_made = on_made
        self._clones = cloning
        self.oci_guests = oci
        self._settings = settings
        self.networks = guest_network
        self.machines = machines
        self._rekeying = rekeying
        self.steps = {
            Status.RESERVED: workflow.Step(name="create", do=self.create),
            Status.CREATING: workflow.Step(name="await", do=self.await_guest),
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

    async def create(self, row: lease.Lease) -> lease.Lease:
        """Ask for the guest once; destroy the result of any earlier request.

        Raises GiveUp, and RetryLater while its node makes many guests.
        """
        if row.create_sent_at is not None:
            raise workflow.GiveUp(FAILED, "the outcome of the creation is not known")
        if not await self.machines.is_vmid_free(row.vmid):
            raise workflow.GiveUp(FAILED, "a foreign guest has the vmid")
        ends = row.created_at + (lease.LONGEST_TRIAL if row.is_trial else timedelta(0))
        try:
            move = functools.partial(self._move, row)
            cloned = await self._clones.make(row, ends, move) if row.has_card else None
            if cloned is not None:
                return await self._move(cloned, functools.partial(moves.finish_clone, self._db))
            async with self.machines.turn_to_write(row.node):
                noted = functools.partial(making_turns.take, self._db, self._settings)
                sent = await self._move(row, noted)
                await self.networks.prepare(sent)
                upid = await self.machines.ask_to_create(sent, machine.Secrets(), ends)
        except (pve.ProxmoxError, clones.ForeignError, machine.GuestMovedError) as error:
            raise workflow.GiveUp(FAILED, workflow.reason_of(error)) from error
        return await self._move(sent, functools.partial(moves.begin_creating, upid=upid.text))

    async def await_guest(self, row: lease.Lease) -> lease.Lease:
        """Wait for the creation task; a clone is there already. Raises GiveUp, RetryLater."""
        try:
            if row.upid is not None:
                await self.machines.wait_until_created(row, row.upid)
            await self.oci_guests.complete(row)
        except pve.ProxmoxError as error:
            raise _passing_or_final(row, error) from error
        return await self._move(row, moves.begin_starting)

    async def _start(self, row: lease.Lease) -> None:
        """Start the guest and test its shell; close the session, as any replica may sell it."""
        try:
            await self.machines.ensure_running(row)
            await self._rekeying.check(row)
        except (pve.ProxmoxError, warm_guests.NotReady, machine.GuestMovedError) as error:
            raise _passing_or_final(row, error) from error
        finally:
            await self._rekeying.leave(row)
        row = await self._connect(row)
        await self._move(row, functools.partial(moves.enter_warm_pool, self._db))
        self._on_made()
        log.info("pool_guest_ready", lease=row.lease_id, vmid=row.vmid, sku=row.sku)

    async def _connect(self, row: lease.Lease) -> lease.Lease:
        """Connect the guest, so that its tenant need not wait for it. Raises RetryLater."""
        try:
            row, again_at = await self.networks.advance(row, functools.partial(self._move, row))
        except pve.ProxmoxError as error:
            raise _passing_or_final(row, error) from error
        except workflow.GiveUp as error:
            raise workflow.GiveUp(FAILED, error.reason) from error
        if again_at is not None:
            self._on_made()
            raise workflow.retry_at(again_at, await self._db.time(), "its isolation rules are new")
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
