"""Rolls a guest back to a snapshot, and makes it again what its lease says before it may start.

    down       whatever is open in the guest ends, and it is stopped
    kept       its options are read and noted: card with hardware address, tags, shares, names
    back       Proxmox gives it disk, memory, disk size, card and tags of then
    whole      size, card, tags, mark and rules are written where they differ, and read back
    done       what was wanted of it before is wanted again, so the worker starts it

All the while the lease's row says that its guest should be stopped, so nothing starts it: not the
reconciler, not a renewal, not a process that knows no snapshots. Each step may run twice, and a
process that takes over begins with the first. The end of a lease, and a suspension, take the fence,
so nothing more is written here; while a lease is suspended its rollback waits.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import structlog

from pve402.domain import lease, power, snapshots
from pve402.leases import guest_networks, machine, moves, workflow
from pve402.leases.alterations import snapshot_calls
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import snapshots as pve_snapshots
from pve402.storage import database, lease_rows, queue, snapshot_rows

log = structlog.get_logger(__name__)

_KEPT: Final = frozenset(
    {"cores", "cpulimit", "cpuunits", "memory", "swap", "hostname", "tags"}
    | {"nameserver", "searchdomain", "onboot"}
)
"""Options that a rollback must not change, besides all cards and the description."""
_CARD: Final = re.compile(r"net\d{1,2}")
_BROKEN_SECONDS: Final = 60.0


class Rollback:
    """Runs rollbacks for the worker."""

    def __init__(
        self,
        db: database.Database,
        calls: snapshot_calls.SnapshotCalls,
        machines: machine.Machines,
        guests: pve_guests.Guests,
        guest_network: guest_networks.GuestNetworks,
        on_end: Callable[[lease.Lease, str], Awaitable[None]],
    ) -> None:
        """Keep the parts; `on_end(lease, reason)` closes what is open in a guest."""
        self._db = db
        self._calls = calls
        self._machines = machines
        self._guests = guests
        self._networks = guest_network
        self._on_end = on_end

    async def run(self, row: lease.Lease, one: snapshots.Snapshot) -> lease.Lease:
        """Roll back, or find that it cannot be done; return the row, with the old wish again.

        Raises FenceLostError, RetryLater and ProxmoxErrors; the guest is down, and must stay so.
        """
        await self._on_end(row, "rolled_back")
        await self._stop(row)
        await self._calls.settle(row, one)
        if not one.kept:
            one = await self._keep(row, one)
        one, problem = await self._go_back(row, one)
        await self._make_whole(row, one)
        return await self._finish(row, one, problem)

    async def _stop(self, row: lease.Lease) -> None:
        sight = await self._machines.ensure_stopped(row, at_once=True)
        if sight is machine.Sight.RUNNING:
            raise workflow.RetryLater("the guest still runs after it was stopped")
        if sight is not machine.Sight.STOPPED:
            raise pve.GuestMissing(f"guest {row.vmid} is {sight.value}")

    async def _keep(self, row: lease.Lease, one: snapshots.Snapshot) -> snapshots.Snapshot:
        """Note the guest's options before the first call that could change them."""
        config = await self._calls.own_config(row)
        kept = {name: text for name, text in config.values.items() if _is_kept(name)}
        if not all("hwaddr=" in text for name, text in kept.items() if _CARD.fullmatch(name)):
            raise workflow.RetryLater("a card of the guest has no hardware address")
        return await self._calls.note(row, one, kept=kept)

    async def _go_back(
        self, row: lease.Lease, one: snapshots.Snapshot
    ) -> tuple[snapshots.Snapshot, str | None]:
        """Have Proxmox roll back; return the code of what kept it from that, if anything did."""
        ref, pve_name = snapshot_calls.ref(row), one.pve_name
        try:
            then = await self._calls.on_proxmox.config_of(ref, pve_name)
        except pve.SnapshotMissing:  # somebody else deleted it
            return one, snapshots.SnapshotFailed.code
        if not self._calls.is_marked(row, then):  # it would not be known as the lease's any more
            return one, snapshots.SnapshotFailed.code
        one, refused = await self._calls.ask(
            row, one, lambda: self._calls.on_proxmox.roll_back(ref, pve_name)
        )
        return one, await self._problem(row, pve_name, refused)

    async def _problem(
        self, row: lease.Lease, pve_name: str, refused: pve.ProxmoxError | None
    ) -> str | None:
        """Return the code of what kept Proxmox from a rollback; None if the guest has gone back.

        Raises RetryLater if it stopped in the middle, and what another try may mend.
        """
        config = await self._calls.own_config(row)
        if config.lock == pve_snapshots.ROLLBACK_LOCK:
            raise workflow.RetryLater("a rollback broke off", after_seconds=_BROKEN_SECONDS)
        if isinstance(refused, workflow.TRANSIENT) and not isinstance(refused, pve.GuestLocked):
            raise refused
        if refused is None and config.values.get("parent") == pve_name:
            return None
        reason = "it follows another snapshot" if refused is None else workflow.reason_of(refused)
        log.warning("not_rolled_back", lease=row.lease_id, vmid=row.vmid, error=reason)
        return snapshot_calls.problem_of(refused)

    async def _make_whole(self, row: lease.Lease, one: snapshots.Snapshot) -> None:
        """Write what the guest must be where it differs, and check that it is so and is down.

        The options are read first and the lease's end second, and Proxmox refuses a change that is
        based on others, so no older mark can win.
        """
        config = await self._calls.own_config(row)
        if config.has_smaller_disk(row.size.disk_gb):
            await self._enlarge(row, config.digest)
            config = await self._calls.own_config(row)
        wanted = await self._wanted(row, one)
        changes, dropped = _differences(config, wanted)
        if changes or dropped:
            await self._guests.update_config(
                snapshot_calls.ref(row), changes, delete=dropped, digest=config.digest
            )
            config = await self._calls.own_config(row)
        if any(_differences(config, wanted)) or config.has_smaller_disk(row.size.disk_gb):
            raise workflow.RetryLater("the guest is not yet what its lease says")
        await self._networks.check_rules(row)
        if await self._machines.look(row) is not machine.Sight.STOPPED:
            raise workflow.RetryLater("somebody started the guest during its rollback")

    async def _wanted(self, row: lease.Lease, one: snapshots.Snapshot) -> Mapping[str, str]:
        async with self._db.read() as tx:
            now = await lease_rows.get(tx, row.lease_id)
        if now is None or now.expires_at is None:
            raise queue.FenceLostError
        return {
            **one.kept,
            "cores": str(now.size.cores),
            "memory": str(now.size.memory_mb),
            "description": self._machines.description(now, now.expires_at).strip(),
        }

    async def _enlarge(self, row: lease.Lease, digest: str) -> None:
        """Give the disk the size that is paid for; a snapshot may be of a smaller one."""
        ref = snapshot_calls.ref(row)
        async with self._machines.turn_to_write(row.node):
            upid = await self._guests.resize_disk(ref, row.size.disk_gb, digest=digest)
            await self._calls.finished(upid)

    async def _finish(
        self, row: lease.Lease, one: snapshots.Snapshot, problem: str | None
    ) -> lease.Lease:
        resumes_to = row.wanted
        if resumes_to is power.Wanted.STOPPED and one.resumes_to is not None:
            resumes_to = power.Wanted(one.resumes_to)
        done: dict[str, Any] = {"state": snapshots.State.THERE.value, "problem": problem}
        done |= {"asked_at": None, "upid": None, "kept": {}, "resumes_to": None}
        async with self._db.begin() as tx:
            moved = await moves.end_rollback(tx, row, resumes_to)
            await snapshot_rows.update(tx, one, **done)
        log.info("rolled_back", lease=row.lease_id, vmid=row.vmid, problem=problem)
        return moved


def _is_kept(name: str) -> bool:
    return name in _KEPT or _CARD.fullmatch(name) is not None


def _differences(
    config: pve_guests.GuestConfig, wanted: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the options to write, and those to remove."""
    found = {name: text for name, text in config.values.items() if _is_kept(name)}
    found["description"] = config.description.strip()
    changes = {
        name: text for name, text in wanted.items() if _parts(found.get(name, "")) != _parts(text)
    }
    return changes, sorted(found.keys() - wanted.keys())


def _parts(text: str) -> list[str]:
    """Return the parts of an option in one order, as Proxmox may write them in another."""
    return sorted(re.split("[,;]", text))
