"""Compares our leases with what runs, fixes the differences that are ours, reports the rest.

    found                                         done
    an active lease whose guest is gone           the lease ends, with a reason
    an active lease whose guest is down           the guest is started, a few times an hour,
                                                  unless its tenant stopped it
    an active guest runs, its tenant stopped it   it is stopped
    a guest on another node than its lease        the lease follows it
    a stopped lease whose guest runs              it is stopped again
    an active guest that is not connected yet,
    or whose rules are not what they should be    its lease falls due, which sees to it
    a pause that has not begun, or that a replica
    of an earlier version knew nothing of         its lease falls due, which sees to it
    a snapshot, a change of size or a reinstall
    that nobody goes on with                      its lease falls due, which sees to it
    an idle lease whose tenant wants it paused    it is asked to be paused
    a warm guest that is gone or down             it is discarded, the pool makes another
    a guest of ours without a current lease       reported; only an operator may stop it
    a guest locked for creation without a task    reported; only root on its node can clear it

Guests without our instance's tag are ignored. We trust the cluster's list only about guests that it
shows: before we treat a guest as gone, we ask for the guest itself.
"""

import asyncio
import contextlib
import dataclasses
import functools
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta

import structlog

from pve402.domain import lease, mark, meter, networks
from pve402.leases import (
    cluster,
    deals,
    fork_steps,
    guest_networks,
    machine,
    metrics,
    moves,
    options,
    rounds,
    warm_guests,
    workflow,
)
from pve402.leases.alterations import idling
from pve402.proxmox import errors as pve
from pve402.proxmox import resources
from pve402.storage import (
    database,
    environment_rows,
    lease_rows,
    owed_rows,
    queue,
    reinstall_rows,
    unfinished_rows,
    user_data_rows,
)

log = structlog.get_logger(__name__)

Status = lease.LeaseStatus
_COMPARED = {Status.ACTIVE, Status.STOPPED, Status.POOLED}
INTERVAL_SECONDS = 30.0
_AT_ONCE = 8  # per node; write slots limit how many of them write at once
_SETTLED_DOWN = timedelta(seconds=20)  # `/cluster/resources` lags by a few seconds


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stranger:
    """A guest with our tag but no current lease."""

    node: str
    vmid: int
    lease_id: str | None
    running: bool
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The result of one comparison."""

    strangers: tuple[Stranger, ...]
    ours: int  # guests with our tag
    standing: int  # leases that are not over


class Reconciler:
    """Runs the comparison every 30 seconds; any number of replicas may do so."""

    def __init__(
        self,
        db: database.Database,
        view: cluster.ClusterView,
        machines: machine.Machines,
        settings: options.LeaseOptions,
        guest_network: guest_networks.GuestNetworks,
        idle: idling.Idling,
        *,
        fork_ends: fork_steps.ForkEnds,
    ) -> None:
        self._db = db
        self.fork_ends = fork_ends
        self._networks = guest_network
        self._view = view
        self.idle = idle
        self._machines = machines
        self._settings = settings
        self._rounds = rounds.Rounds("reconciler", self.run_once, INTERVAL_SECONDS)
        self._mending: dict[str, asyncio.Task[None]] = {}
        self.last_report: Report | None = None

    def start(self) -> None:
        """Start the background comparison."""
        self._rounds.start(with_pause=True)

    async def stop(self) -> None:
        """Stop the background comparison and the tasks it started."""
        await self._rounds.stop()
        tasks = list(self._mending.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def compare(self) -> Report:
        """Compare and change nothing; raises ProxmoxError if the cluster does not answer."""
        standing, seen = await self._look()
        return self._report(standing, seen)

    async def run_once(self) -> Report:
        """Compare and fix differences; raises ProxmoxError if the cluster does not answer."""
        await self._count_debts()
        await self._forget_secrets()
        standing, seen = await self._look()
        guests = {guest.vmid: guest for guest in seen.guests}
        await self.idle.look(standing, guests)
        await self._close_gaps([(row, guests.get(row.vmid)) for row in standing])
        await self._resume_what_was_left(standing)
        report = self._report(standing, seen)
        metrics.STRANGERS.set(len(report.strangers))
        known = self.last_report.strangers if self.last_report is not None else ()
        for stranger in report.strangers:
            if stranger not in known:
                log.warning("stranger", **dataclasses.asdict(stranger))
        self.last_report = report
        return report

    async def _resume_what_was_left(self, standing: Iterable[lease.Lease]) -> None:
        """Let the worker go on with what was begun about guests and is left alone.

        What was taken for forks that are over is to be deleted.
        """
        await self.fork_ends.sweep()
        async with self._db.read() as tx:
            left_alone = {*await unfinished_rows.left_alone(tx)}
        for row in standing:
            if row.lease_id in left_alone:
                with contextlib.suppress(queue.FenceLostError):
                    await self._move(row, functools.partial(moves.look_at_begun, self._db))

    async def _count_debts(self) -> None:
        async with self._db.read() as tx:
            totals = await owed_rows.totals(tx)
        metrics.OWED.clear()
        for network, amount_atomic in totals.items():
            metrics.OWED.labels(network).set(amount_atomic)

    async def _forget_secrets(self) -> None:
        """Delete what leases that are over had for their guests."""
        async with self._db.begin() as tx:
            await environment_rows.forget_over(tx)
            await user_data_rows.forget_over(tx)
            await reinstall_rows.forget_over(tx)

    async def _close_gaps(
        self, pairs: Iterable[tuple[lease.Lease, resources.GuestSummary | None]]
    ) -> None:
        """Fix leases concurrently: after a power cut, every guest of a node may need it.

        Fixes from an earlier comparison that are still running continue.
        """
        rooms: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(_AT_ONCE))
        begun: set[asyncio.Task[None]] = set()
        for row, guest in pairs:
            if row.lease_id not in self._mending and self._has_gap(row, guest):
                task = asyncio.create_task(self._mend(rooms[row.node], row, guest))
                self._mending[row.lease_id] = task
                task.add_done_callback(functools.partial(self._mended, row.lease_id))
                begun.add(task)
        if begun:
            await asyncio.wait(begun, timeout=INTERVAL_SECONDS)

    async def _look(self) -> tuple[list[lease.Lease], resources.ClusterResources]:
        async with self._db.read() as tx:
            standing = await lease_rows.list_standing(tx)
        return standing, await self._view.fresh(0.0)

    def _mended(self, lease_id: str, _: asyncio.Task[None]) -> None:
        del self._mending[lease_id]

    def _has_gap(self, row: lease.Lease, guest: resources.GuestSummary | None) -> bool:
        """Return whether the cluster's view differs from the lease."""
        if row.hold_order_id is not None or row.status not in _COMPARED:
            return False
        if guest is not None and (self._is_unconnected(row) or _is_unsettled(row)):
            return True
        runs = guest is not None and guest.state is resources.RunState.RUNNING
        if row.status is Status.POOLED or guest is None:
            return not runs
        moved = guest.node != row.node
        to_run = row.status is Status.ACTIVE and row.is_to_run
        return self._is_of(guest, row) and (moved or runs is not to_run)

    def _is_unconnected(self, row: lease.Lease) -> bool:
        """Return whether an active guest's network is not as it should be."""
        is_outdated = row.suspension is None and self._networks.is_outdated(row)
        is_pending = row.link is networks.Link.PENDING
        return row.status is Status.ACTIVE and (is_pending or is_outdated)

    async def _mend(
        self, room: asyncio.Semaphore, row: lease.Lease, guest: resources.GuestSummary | None
    ) -> None:
        """Fix one lease; a failure affects only this lease and is retried."""
        try:
            async with room:
                if row.status is Status.POOLED:
                    await self._pooled(row)
                elif guest is None:
                    await self._missing(row)
                else:
                    await self._present(row, guest)
        except machine.GuestMovedError as moved:
            with contextlib.suppress(queue.FenceLostError):
                await self._move(row, functools.partial(moves.follow, node=moved.node))
        except queue.FenceLostError:
            log.info("gap_closed_by_others", lease=row.lease_id)
        except (pve.ProxmoxError, workflow.RetryLater) as error:
            log.warning("gap_left", lease=row.lease_id, error=workflow.reason_of(error))
        except Exception:
            log.exception("reconciler_failed", lease=row.lease_id)

    async def _present(self, row: lease.Lease, guest: resources.GuestSummary) -> None:
        if guest.node != row.node:
            log.info("guest_moved", lease=row.lease_id, node=guest.node)
            await self._move(row, functools.partial(moves.follow, node=guest.node))
            return
        if self._is_unconnected(row) or _is_unsettled(row):
            await self._move(row, functools.partial(moves.check_power, self._db))
            return
        if row.status is Status.ACTIVE and row.is_to_run:
            await self._restart(row)
        elif row.status is Status.ACTIVE:
            await self._stop_as_wanted(row)
        else:
            await self._stop_again(row)

    async def _pooled(self, row: lease.Lease) -> None:
        """Discard a warm guest that does not run, after asking its node about it."""
        if await self._machines.look(row) is not machine.Sight.RUNNING:
            log.warning("pooled_guest_down", lease=row.lease_id, vmid=row.vmid)
            broken = functools.partial(moves.discard_warm, self._db, reason=warm_guests.BROKEN)
            await self._move(row, broken)

    async def _missing(self, row: lease.Lease) -> None:
        """End a lease whose guest is gone, after asking its node about it."""
        if await self._machines.look(row) is not machine.Sight.ABSENT:
            return
        log.error("guest_vanished", lease=row.lease_id, vmid=row.vmid)
        await self._move(row, functools.partial(moves.end_vanished, self._db))

    async def _restart(self, row: lease.Lease) -> None:
        """Start a guest that went down during its paid time, unless it keeps going down.

        Checks the guest itself first: Proxmox's list has no state when its statistics fail.
        """
        now = await self._db.time()
        if row.expires_at is None or row.expires_at - now < _SETTLED_DOWN:
            return
        fresh_hour = row.restarts_since is None or now - row.restarts_since > timedelta(hours=1)
        restarts = 0 if fresh_hour else row.restarts
        if restarts >= self._settings.restarts_an_hour:
            return
        if await self._machines.look(row) is not machine.Sight.STOPPED:
            return
        counted = functools.partial(moves.count_restart, self._db, first_of_hour=fresh_hour)
        await self._move(row, counted)
        log.info("guest_restarted", lease=row.lease_id, vmid=row.vmid)
        try:
            await self._machines.ensure_running(row, only_if_wanted=True)
        except pve.ProxmoxError as error:
            reason = workflow.reason_of(error)
            await self._move(row, functools.partial(moves.note_trouble, reason=reason))
            raise

    async def _stop_as_wanted(self, row: lease.Lease) -> None:
        """Let the worker stop a guest that runs although its tenant wants it down."""
        if await self._machines.look(row) is machine.Sight.RUNNING:
            log.warning("guest_runs_unwanted", lease=row.lease_id, vmid=row.vmid)
            await self._move(row, functools.partial(moves.check_power, self._db))

    async def _stop_again(self, row: lease.Lease) -> None:
        """Let the worker stop a guest that runs after its lease ended; its grace stays the same.

        The lease is STOPPING from then on, so that no renewal starts while the guest stops.
        """
        if await self._machines.look(row) is machine.Sight.RUNNING:
            log.warning("guest_runs_after_expiry", lease=row.lease_id, vmid=row.vmid)
            await self._move(row, functools.partial(moves.stop_again, self._db))

    async def _move(self, row: lease.Lease, move: deals.Move) -> None:
        async with self._db.begin() as tx:
            await move(tx, row)

    def _is_of(self, guest: resources.GuestSummary, row: lease.Lease) -> bool:
        return mark.is_marked(guest.tags, self._settings.instance, row.lease_id)

    def _report(self, standing: list[lease.Lease], seen: resources.ClusterResources) -> Report:
        known = {(row.lease_id, row.vmid) for row in standing}
        clones = [(row.base, row.vmid) for row in standing if row.base is not None]
        known |= set(clones)  # until they are whole
        tag = mark.instance_tag(self._settings.instance)
        ours = [guest for guest in seen.guests if tag in guest.tags]
        strangers = [
            _stranger(guest)
            for guest in ours
            if not known & {(named, guest.vmid) for named in mark.leases_named(guest.tags)}
        ]
        vmids = {row.vmid for row in standing if row.status is not Status.RESERVED}
        locked = [
            dataclasses.replace(_stranger(guest), reason="locked for creation")
            for guest in seen.guests
            if guest.lock == "create" and self._in_range(guest.vmid) and guest.vmid not in vmids
        ]
        return Report(strangers=(*strangers, *locked), ours=len(ours), standing=len(standing))

    def _in_range(self, vmid: int) -> bool:
        return self._settings.vmid_min <= vmid <= self._settings.vmid_max


def _is_unsettled(row: lease.Lease) -> bool:
    """Return whether an active lease burns something else than it should."""
    is_held = row.suspension is not None and row.suspension.time_held
    is_asked = row.pause_asked_at is not None and not is_held
    return row.status is Status.ACTIVE and (is_asked or meter.is_outdated(row))


def _stranger(guest: resources.GuestSummary) -> Stranger:
    return Stranger(
        node=guest.node,
        vmid=guest.vmid,
        lease_id=next(iter(mark.leases_named(guest.tags)), None),
        running=guest.state is resources.RunState.RUNNING,
        reason="no standing lease",
    )
