"""Creates, starts, stops and destroys the guest of a lease; every call is safe to repeat.

A vmid alone proves nothing. Before we start, stop, change or destroy a guest, we compare its tags
with the lease's, and leave a foreign guest on our vmid alone. If the operation needs a write turn,
we compare the tags inside the turn, because waiting for one can take minutes. Meanwhile an
administrator may have given the vmid to another guest, or another process may have taken the lease
over and the tenant renewed it; so after a long wait we also read the lease's row again.
"""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Collection
from datetime import datetime

import structlog

from pve402.domain import lease, mark
from pve402.leases import guest_specs, looking, options, sights, workflow
from pve402.leases import on_sale as sale
from pve402.proxmox import errors as pve
from pve402.proxmox import guest_views
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import tasks as pve_tasks
from pve402.storage import database, lease_rows, queue, slots, vault

log = structlog.get_logger(__name__)

_TASK_LIMIT_SECONDS = 300.0
CREATING = looking.CREATING
STARTING = frozenset({"vzstart", "vzreboot"})
_STOPPING_AT_ONCE = frozenset({"vzstop"})
_STOPPING = _STOPPING_AT_ONCE | {"vzshutdown"}
# After waiting longer than this for a turn, check the lease's row again.
STALE_SECONDS = 1.0
# If the end of a lease gets no turn in time, it lets ends on other nodes and creations go first.
TURN_LIMIT_SECONDS = 5.0
_BUSY_PAUSE_SECONDS = 2.0
_START_TURN_SECONDS = 0.25  # it costs its node most then; later it only waits for the guest
_POLL = pve_tasks.PollPolicy(first_seconds=0.04, factor=1.25, ceiling_seconds=1.0)

Sight = sights.Sight
GuestMovedError = sights.GuestMovedError
HalfMadeError = sights.HalfMadeError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Secrets:
    """The tenant's access to the guest."""

    password: str | None = dataclasses.field(default=None, repr=False)
    ssh_public_keys: tuple[str, ...] = ()


class Machines:
    """Operates guests for the workflows."""

    def __init__(
        self,
        db: database.Database,
        guests: pve_guests.Guests,
        tasks: pve_tasks.Tasks,
        *,
        node_slots: slots.NodeSlots,
        settings: options.LeaseOptions,
        secret_vault: vault.Vault,
        template: pve_guests.GuestSpec,
        on_sale: sale.OnSale,
    ) -> None:
        """Keep the parts; `template` is a spec with the operator's network and defaults."""
        self._db = db
        self._guests = guests
        self._tasks = tasks
        self._slots = node_slots
        self._settings = settings
        self._looking = looking.Looking(
            db, guests, tasks, instance=settings.instance, secret_vault=secret_vault
        )
        self._template = template
        self._on_sale = on_sale

    async def look(self, row: lease.Lease) -> Sight:
        """Return what exists under the lease's vmid: one call, or a few if it is not as expected.

        Raises GuestMovedError if the guest is on another node of the cluster.
        """
        return await self._looking.look(row)

    async def is_vmid_free(self, vmid: int) -> bool:
        """Return whether no guest in the cluster has this vmid."""
        try:
            await self._guests.next_vmid(vmid)
        except pve.GuestExists:
            return False
        return True

    def turn_to_write(self, node: str) -> contextlib.AbstractAsyncContextManager[None]:
        """Wait for a write turn on the node and hold it for the block.

        Record a creation inside the block, before sending it: a process that lost the lease while
        waiting then notices, and sends nothing.
        """
        return self._slots.hold(node)

    async def ask_to_create(
        self, row: lease.Lease, secrets: Secrets, planned_expiry: datetime
    ) -> pve_tasks.Upid:
        """Ask Proxmox for the guest, in a write turn of its node; return the creation task.

        Raises ProxmoxError; after OutcomeUnknown the guest may exist or appear later.
        """
        spec = dataclasses.replace(
            self.spec(row, planned_expiry),
            template=row.template,  # what no volume is called is never unpacked
            password=secrets.password,
            ssh_public_keys=secrets.ssh_public_keys,
        )
        return await self._guests.create(_ref(row), spec)

    def spec(self, row: lease.Lease, planned_expiry: datetime) -> pve_guests.GuestSpec:
        """Return what a lease's new guest is to be, but for its tenant's secrets."""
        return dataclasses.replace(
            guest_specs.spec_of(self._template, self._on_sale, row),
            tags=self._tags(row),
            description=self.description(row, planned_expiry),
        )

    async def wait_until_created(self, row: lease.Lease, upid: str) -> None:
        """Wait for the creation task; raise the error it ended with."""
        await self._wait(pve_tasks.Upid.parse(upid))

    async def find_task(self, row: lease.Lease, types: Collection[str]) -> pve_tasks.Upid | None:
        """Return the running task of one of these types under the lease's vmid, if any.

        A clone's task names its source alone, so it may be that of another clone of the image.
        """
        return await self._looking.find_task(row, types)

    async def ensure_running(
        self, row: lease.Lease, *, look_first: bool = True, only_if_wanted: bool = False
    ) -> None:
        """Start the guest unless it runs; `look_first=False` right after its creation.

        `only_if_wanted` is for a caller without the row's fence: the lease is read again, in case
        it ended or its tenant stopped it meanwhile. Raises GuestMissing if the lease has no guest,
        the error of the start task, and FenceLostError if the lease was taken over or moved.
        """
        with contextlib.suppress(pve.GuestRunning):
            async with self._turn(row, linger_seconds=_START_TURN_SECONDS) as waited_long:
                if only_if_wanted:
                    await self._check_wanted(row)
                sight = await self.look(row) if look_first or waited_long else Sight.STOPPED
                if sight is Sight.RUNNING:
                    return
                if sight is not Sight.STOPPED:
                    raise pve.GuestMissing(f"guest {row.vmid} is {sight.value}")
                starting = await self._guests.start(_ref(row))
            await self._wait(starting)

    async def reboot(self, row: lease.Lease) -> None:
        """Shut the guest down, by force after the operator's time limit, and start it.

        Raises like `ensure_running`.
        """
        limit = self._settings.shutdown_limit_seconds
        async with self._turn(row):
            await self._check_wanted(row)
            if await self.look(row) is Sight.RUNNING:
                with contextlib.suppress(pve.GuestNotRunning):
                    upid = await self._guests.reboot(_ref(row), limit_seconds=limit)
                    if not await self._succeeded(row, upid):
                        await self._wait(await self._guests.stop(_ref(row)))
        await self.ensure_running(row, only_if_wanted=True)

    async def ensure_stopped(self, row: lease.Lease, *, at_once: bool = False) -> Sight:
        """Shut the guest down, by force after the operator's time limit; return the new state.

        With `at_once` by force, as when its disk is given up; this also ends a shutdown that is
        still running. A shutdown can take the whole limit, but it does not block other write turns.
        If an earlier one is still running, we wait for it: another would only wait for the guest's
        lock, and fail. Raises ProxmoxError if the stop failed (the state is then unknown),
        RetryLater while the node is busy, FenceLostError if the lease was taken over meanwhile.
        """
        with contextlib.suppress(pve.GuestNotRunning):
            async with self._turn(row, limit_seconds=TURN_LIMIT_SECONDS):
                sight = await self.look(row)
                if sight is not Sight.RUNNING:
                    return sight
                upid = await self.find_task(row, _STOPPING_AT_ONCE if at_once else _STOPPING)
                if upid is None and not at_once:
                    upid = await self._ask_to_shut_down(row)
            if upid is None or not await self._succeeded(row, upid):
                await self._stop_hard(row)
        return await self.look(row)

    async def ensure_gone(self, row: lease.Lease) -> bool:
        """Destroy the lease's guest; True once it is gone, False while it is still being created.

        Leaves a foreign guest on the vmid alone and returns True: ours is not there. Raises like
        `ensure_stopped`.
        """
        async with self._turn(row, limit_seconds=TURN_LIMIT_SECONDS):
            sight = await self.look(row)
            if sight in {Sight.STOPPED, Sight.RUNNING, Sight.UNFINISHED}:
                with contextlib.suppress(pve.GuestMissing):
                    await self._wait(await self._guests.delete(_ref(row), force=True))
        if sight is Sight.IN_MAKING:
            return await self._wait_for_making(row)
        return True

    async def write_description(self, row: lease.Lease) -> None:
        """Write the end of the paid time on the guest, if it is the lease's guest.

        We read the guest's configuration first and the lease's end second, and Proxmox refuses a
        change based on an outdated configuration. So if two processes write at once, the older end
        cannot win. Raises ConfigChanged if Proxmox refuses.
        """
        config = await self._own_config(row)
        if config is None:
            return
        async with self._db.read() as tx:
            now = await lease_rows.get(tx, row.lease_id)
        if now is not None and now.expires_at is not None:
            changes = {"description": self.description(now, now.expires_at)}
            await self._guests.update_config(_ref(row), changes, digest=config.digest)

    async def describe_changes(self, row: lease.Lease) -> None:
        """Write a suspension, its end, or another balance on the guest unless it says so already.

        A guest that an earlier version described has no balance. It gets one with its next end, by
        `write_description`, or here if that came nearer: a rebuild must not give the time back.
        """
        config = await self._own_config(row)
        record = None if config is None else self.read_description(config.description)
        if record is None:
            return
        wanted = self.read_description(self.description(row, record.expires_at))
        if wanted is not None and record.metered is None and not _needs_meter(row, record):
            wanted = dataclasses.replace(wanted, metered=None)
        if record != wanted:
            await self.write_description(row)

    async def describe_sold(self, row: lease.Lease, expires_at: datetime) -> None:
        """Write the lease's name and end on its guest, up or down. Raises GuestMissing."""
        config = await self._own_config(row)
        if config is None:
            raise pve.GuestMissing(f"guest {row.vmid} is not there, or not the lease's")
        changes = {"hostname": row.hostname, "description": self.description(row, expires_at)}
        await self._guests.update_config(_ref(row), changes, digest=config.digest)

    def description(self, row: lease.Lease, expires_at: datetime) -> str:
        """Return the signed description of the lease's guest."""
        return mark.describe(mark.GuestRecord.of(row, expires_at), self._looking.mark_key)

    def read_description(self, description: str) -> mark.GuestRecord | None:
        """Return the record in a guest's description, if we signed it."""
        return self._looking.read_description(description)

    @contextlib.asynccontextmanager
    async def _turn(
        self, row: lease.Lease, *, limit_seconds: float | None = None, linger_seconds: float = 0.0
    ) -> AsyncIterator[bool]:
        """Hold a write turn on the lease's node, and linger; yields whether the wait was long.

        Raises RetryLater if no turn comes within the time limit, and FenceLostError if the lease
        was taken over meanwhile.
        """
        asked_at = time.monotonic()
        async with contextlib.AsyncExitStack() as holding:
            try:
                async with asyncio.timeout(limit_seconds):
                    await holding.enter_async_context(self._slots.hold(row.node, linger_seconds))
            except TimeoutError:
                raise workflow.RetryLater(
                    "the node is busy", after_seconds=_BUSY_PAUSE_SECONDS
                ) from None
            waited_long = time.monotonic() - asked_at > STALE_SECONDS
            if waited_long:
                await self._check_unchanged(row)
            yield waited_long

    async def _check_unchanged(self, row: lease.Lease) -> None:
        """Raise FenceLostError if the lease's row differs from the caller's copy."""
        async with self._db.read() as tx:
            now = await lease_rows.get(tx, row.lease_id)
        if now is None or _whose(now) != _whose(row):
            raise queue.FenceLostError

    async def _check_wanted(self, row: lease.Lease) -> None:
        """Raise FenceLostError unless the guest should run now: paid for, and not stopped."""
        async with self._db.read() as tx:
            found = await lease_rows.get(tx, row.lease_id)
        if found is None or found.status is not lease.LeaseStatus.ACTIVE or not found.is_to_run:
            raise queue.FenceLostError
        if found.expires_at is None or found.expires_at <= await self._db.time():
            raise queue.FenceLostError

    async def _own_config(self, row: lease.Lease) -> guest_views.GuestConfig | None:
        """Return the guest's current configuration if its tags are the lease's."""
        try:
            config = await self._guests.config(_ref(row))
        except pve.GuestMissing:
            await self._looking.look_elsewhere(row)
            return None
        marked = mark.is_marked(config.tags, self._settings.instance, row.lease_id)
        return config if marked and config.lock != looking.CREATE_LOCK else None

    async def _ask_to_shut_down(self, row: lease.Lease) -> pve_tasks.Upid | None:
        """Return the task that shuts the guest down, or None if Proxmox starts none."""
        limit = self._settings.shutdown_limit_seconds
        try:
            return await self._guests.shutdown(_ref(row), limit_seconds=limit, force_stop=True)
        except pve.ProxmoxFault as error:
            log.warning("shutdown_failed", vmid=row.vmid, error=workflow.reason_of(error))
            return None

    async def _succeeded(self, row: lease.Lease, upid: pve_tasks.Upid) -> bool:
        try:
            await self._wait(upid)
        except (pve.ProxmoxFault, pve.TaskTimeout) as error:
            log.warning("shutdown_failed", vmid=row.vmid, error=workflow.reason_of(error))
            return False
        return True

    async def _stop_hard(self, row: lease.Lease) -> None:
        async with self._turn(row, limit_seconds=TURN_LIMIT_SECONDS):
            await self._check_unchanged(row)
            if await self.look(row) is Sight.RUNNING:
                await self._wait(await self._guests.stop(_ref(row)))

    async def _wait_for_making(self, row: lease.Lease) -> bool:
        upid = await self.find_task(row, CREATING)
        if upid is None:
            raise HalfMadeError("locked for creation without a task")
        try:
            await self._wait(upid)
        except pve.ProxmoxError as error:
            log.info("late_creation_failed", vmid=row.vmid, error=workflow.reason_of(error))
        return False

    async def _wait(self, upid: pve_tasks.Upid) -> None:
        try:
            await self._tasks.wait_until_finished(
                upid, limit_seconds=_TASK_LIMIT_SECONDS, policy=_POLL
            )
        except pve.TaskFailed as error:
            log.warning("task_failed", upid=error.upid, end=error.exitstatus, log=error.log_tail)
            raise error.cause from error

    def _tags(self, row: lease.Lease) -> tuple[str, ...]:
        return (mark.instance_tag(self._settings.instance), mark.lease_tag(row.lease_id))


def _whose(row: lease.Lease) -> tuple[object, ...]:
    """Return the values that change when a process, a renewal or its tenant moves the lease."""
    return row.status, row.fence, row.hold_order_id, row.wanted


def _ref(row: lease.Lease) -> pve_guests.GuestRef:
    return pve_guests.GuestRef(node=row.node, vmid=row.vmid)


def _needs_meter(row: lease.Lease, record: mark.GuestRecord) -> bool:
    """Whether a lease is paused, or ends before its guest says so."""
    return bool(row.paused) or (row.expires_at or record.expires_at) < record.expires_at
