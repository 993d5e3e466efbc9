"""The doctor's trial guests: made as any lease's guest, never sold, and removed within minutes.

A trial is a lease row with the owner `DOCTOR`, of the states that a creation has, so it takes up
room, vmid and addresses like any other. It never becomes active, and nobody pays for it.

    state of the lease   step                                         then
    RESERVED             ask Proxmox for the guest                    CREATING
    CREATING             wait for the creation task                   STARTING
    STARTING             start it; send packets; isolate it; again    UNWINDING
    UNWINDING            destroy the guest, free vmid and addresses   FAILED

The process that makes a trial holds its row by a fence, as a worker does. If it dies, the row falls
due and whoever takes it, a worker of the service or the next doctor, removes the guest.
"""

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

import structlog

from pve402.domain import catalogue, errors, lease, making, networks, placement
from pve402.leases import (
    cluster,
    deals,
    lifetime,
    machine,
    moves,
    on_sale,
    options,
    reservation,
    warm_pool,
    workflow,
)
from pve402.proxmox import errors as pve
from pve402.storage import database, lease_rows, queue

log = structlog.get_logger(__name__)

Status = lease.LeaseStatus
HOLD_SECONDS = 60.0
_REMOVAL_SECONDS = 60.0
_PAUSE_SECONDS = 1.0
#: Why a removal is tried again: none of these may keep the doctor from removing the other guests.
_NOT_YET = (
    queue.FenceLostError,
    workflow.RetryLater,
    machine.GuestMovedError,
    pve.ProxmoxError,
    *workflow.TRANSIENT,
)
Sleep = Callable[[float], Awaitable[None]]


class Trials:
    """Makes, isolates and removes trial guests; holds no state between calls."""

    def __init__(
        self,
        db: database.Database,
        filling: warm_pool.Filling,
        ending: lifetime.Lifetime,
        *,
        view: cluster.ClusterView,
        settings: options.LeaseOptions,
        selling: on_sale.OnSale,
    ) -> None:
        self._db = db
        self._filling = filling
        self._ending = ending
        self._view = view
        self._settings = settings
        self._on_sale = selling

    @contextlib.asynccontextmanager
    async def reserved(
        self, network: networks.NetworkProfile, node: str | None, count: int
    ) -> AsyncIterator[list[lease.Lease]]:
        """Reserve trials on one node, and hold their rows during the block.

        Raises NoCapacity and ProxmoxUnavailable. The caller removes each.
        """
        sku = self._sku_of(network)
        template = sku.template_volume(None, self._settings.default_template)
        rooms = await self._view.rooms_for(template)
        how = making.of_sku(self._on_sale.now, sku)
        if node is not None:
            how = dataclasses.replace(how, nodes=frozenset({node}))
        rows: list[lease.Lease] = []
        async with self._db.begin() as tx:
            await reservation.lock_placement(self._db, tx)
            for _ in range(count):
                row = await reservation.reserve(
                    self._db,
                    tx,
                    _new(sku, template),
                    self._settings,
                    rooms=rooms,
                    how=how,
                )
                how = dataclasses.replace(how, nodes=frozenset({row.node}))
                fence = queue.new_fence()
                rows.append(await moves.begin_trial(self._db, tx, row, fence, HOLD_SECONDS))
        async with self._holding(rows):
            yield rows

    @contextlib.asynccontextmanager
    async def reserved_for_file(
        self, wanted: lease.Lease, rooms: Sequence[placement.NodeRoom], storages: Sequence[str]
    ) -> AsyncIterator[lease.Lease]:
        """Reserve the trial of an image's file, which has no card, and hold its row.

        Raises NoCapacity. The caller removes it.
        """
        async with self._db.begin() as tx:
            await reservation.lock_placement(self._db, tx)
            row = await reservation.reserve_without_card(
                self._db, tx, wanted, self._settings, rooms=rooms, storages=storages
            )
            row = await moves.begin_trial(self._db, tx, row, queue.new_fence(), HOLD_SECONDS)
        async with self._holding([row]):
            yield row

    @contextlib.asynccontextmanager
    async def _holding(self, rows: list[lease.Lease]) -> AsyncIterator[None]:
        """Extend the time limits of rows during the block."""
        keeping = asyncio.create_task(self._keep(rows), name="trials-keep")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def create(self, row: lease.Lease) -> lease.Lease:
        """Create a reserved guest, when its node has a turn for it.

        Raises GiveUp, also if it gets none in time, FenceLostError or a ProxmoxError.
        """
        limit = timedelta(seconds=self._settings.creation_limit_seconds)
        until = await self._db.time() + limit
        while True:
            try:
                row = await self._filling.create(row)
                break
            except workflow.RetryLater as busy:
                if await self._db.time() > until:
                    raise workflow.GiveUp("creation_timed_out", busy.reason) from busy
                await asyncio.sleep(_PAUSE_SECONDS)
        return await self._filling.await_guest(row)

    async def start(self, row: lease.Lease) -> None:
        """Start a created guest. Raises FenceLostError or a ProxmoxError."""
        await self._filling.machines.ensure_running(row)

    async def isolate(self, row: lease.Lease, sleep: Sleep) -> lease.Lease:
        """Take the guest's card down, isolate it, and connect it as any tenant's.

        Raises RetryLater if nobody knows whether rules filter now, FenceLostError, ProxmoxErrors.
        """
        row = await self._move(row, moves.wait_for_rules)
        await self._filling.networks.disconnect(row)
        while row.link is networks.Link.PENDING:
            row, again_at = await self._filling.networks.advance(
                row, functools.partial(self._move, row)
            )
            if again_at is not None:
                wait = (again_at - await self._db.time()).total_seconds()
                await sleep(max(wait, 0.05))
        return row

    async def remove(self, row: lease.Lease) -> None:
        """Destroy a trial's guest and free what it held; safe to repeat.

        Raises RetryLater if that is not possible yet, FenceLostError, or a ProxmoxError; the row
        falls due then, and a worker of the service does the rest.
        """
        if row.status in moves.UNWIND:
            row = await self._move(row, moves.end_trial)
        await self._ending.run(row)

    async def remove_held(self, row: lease.Lease, sleep: Sleep) -> str | None:
        """Remove one of our own; return why it is still there, None if it is gone."""
        reason: str | None = None
        for _ in range(round(_REMOVAL_SECONDS / _PAUSE_SECONDS)):
            try:
                async with self._db.read() as tx:
                    now = await lease_rows.get(tx, row.lease_id)
                if now is None or now.status in lease.OVER:
                    return None
                if now.fence != row.fence:
                    reason = "the service removes it"
                else:
                    await self.remove(now)
                    return None
            except _NOT_YET as error:
                reason = workflow.reason_of(error)
            await sleep(_PAUSE_SECONDS)
        return reason

    async def remove_leftovers(self) -> int:
        """Remove the trials of processes that died; return how many were found."""
        async with self._db.begin() as tx:
            now = await self._db.time_in(tx)
            left = [
                await moves.take_over_trial(self._db, tx, row, queue.new_fence(), HOLD_SECONDS)
                for row in await lease_rows.list_trials(tx)
                if row.status in {*moves.UNWIND, Status.UNWINDING}
                and row.due_at is not None
                and row.due_at <= now
            ]
        for row in left:
            log.info("trial_left_over", lease=row.lease_id, vmid=row.vmid)
            await self.remove_held(row, asyncio.sleep)
        return len(left)

    def _sku_of(self, network: networks.NetworkProfile) -> catalogue.Sku:
        """Return a sku that is sold with this network."""
        selling = self._on_sale.now
        sold = selling.skus.values()
        found = [sku for sku in sold if selling.network_of(sku).name == network.name]
        if not found:
            raise errors.UnknownSku(f"no sku is sold with the network {network.name}")
        return found[0]

    async def _keep(self, rows: list[lease.Lease]) -> None:
        held = [(row.lease_id, row.fence or "") for row in rows]
        while True:
            await asyncio.sleep(HOLD_SECONDS / 4)
            with contextlib.suppress(errors.DatabaseUnavailable):
                async with self._db.single() as tx:
                    await moves.DUE.keep(self._db, tx, held, HOLD_SECONDS)

    async def _move(self, row: lease.Lease, move: deals.Move) -> lease.Lease:
        async with self._db.single() as tx:
            return await move(tx, row)


def _new(sku: catalogue.Sku, template: str) -> lease.Lease:
    return lease.Lease(
        lease_id=lease.new_lease_id(),
        status=Status.RESERVED,
        node="",  # chosen with its vmid in the reservation
        vmid=0,
        owner=lease.DOCTOR,
        sku=sku.name,
        size=sku.smallest,
        hostname="",
        template=template,
        rates=sku.rates.to_strings(),
        created_at=datetime.now(UTC),  # the insert writes the database's own time
    )


def of_file(image: str, template: str, size: lease.Size) -> lease.Lease:
    """Return the trial of an image's file, to be reserved."""
    return lease.Lease(
        lease_id=lease.new_lease_id(),
        status=Status.RESERVED,
        node="",
        vmid=0,
        owner=lease.DOCTOR,
        sku=image,
        size=size,
        hostname="",
        template=template,
        rates={},
        network="",
        created_at=datetime.now(UTC),  # the insert writes the database's own time
    )
