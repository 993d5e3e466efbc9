"""Shows our guests that have no lease, and stops them if the operator says so.

It never destroys anything. It refuses if the lease table is empty or if more than a twentieth of
our guests are unknown: then the table is wrong, and `rebuild` is the remedy.
"""

import dataclasses

from rich.console import Console
from rich.table import Table

from pve402 import bootstrap
from pve402.domain import lease, mark
from pve402.leases.reconciler import Report, Stranger
from pve402.ops import screen
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import tasks as pve_tasks
from pve402.storage import lease_rows

_MOST_UNKNOWN = 0.05
_STOP_SECONDS = 120.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reconcile:
    """Whether to stop what was found."""

    apply: bool

    async def run(self, parts: bootstrap.Components, console: Console) -> int:
        """Show unknown guests, and stop them on --apply; return 0 if none is left, else 1.

        Raises SettingsError if guests carry another installation's name.
        """
        await parts.check_name()
        report = await parts.lease_reconciler.compare()
        _show(report, console)
        if not report.strangers:
            return 0
        if not self.apply:
            console.print("Nothing was done. Use --apply to stop those that are running.")
            return 1
        refusal = why_not(report)
        if refusal:
            console.print(f"[red]Refused:[/red] {refusal}")
            return 1
        return await self._stop(parts, report, console)

    async def _stop(self, parts: bootstrap.Components, report: Report, console: Console) -> int:
        failed = 0
        for stranger in report.strangers:
            if stranger.running and stranger.lease_id is not None:
                failed += not await _stop_one(parts, stranger, console)
        return 1 if failed else 0


def why_not(report: Report) -> str | None:
    """Return why this comparison must not stop anything; None if it may."""
    if report.standing == 0:
        return "there are no current leases at all; was the database lost? See `rebuild`."
    unknown = sum(stranger.lease_id is not None for stranger in report.strangers)
    if unknown > max(1, report.ours * _MOST_UNKNOWN):
        return f"{unknown} of {report.ours} guests are unknown; is this the right database?"
    return None


async def _stop_one(parts: bootstrap.Components, stranger: Stranger, console: Console) -> bool:
    """Stop one guest, after checking its tags and then its lease again.

    A lease is written before its guest is created, so a guest newer than the comparison has its
    lease in the table by now. Returns whether nothing is left to do.
    """
    ref = pve_guests.GuestRef(node=stranger.node, vmid=stranger.vmid)
    try:
        status = await parts.guests.status(ref)
        named = mark.is_marked(status.tags, parts.lease_options.instance, stranger.lease_id or "")
        if not named:
            console.print(f"{stranger.vmid}: its tags changed, left alone")
            return False
        if await _has_lease(parts, stranger):
            console.print(f"{stranger.vmid}: it now has a lease, left alone")
            return True
        upid = await parts.guests.stop(ref)
        await pve_tasks.Tasks(parts.proxmox).wait_until_finished(upid, limit_seconds=_STOP_SECONDS)
    except pve.ProxmoxError as error:
        console.print(f"{stranger.vmid}: not stopped: {error}")
        return False
    console.print(f"{stranger.vmid}: stopped")
    return True


async def _has_lease(parts: bootstrap.Components, stranger: Stranger) -> bool:
    async with parts.db.read() as tx:
        found = await lease_rows.get(tx, stranger.lease_id or "")
    return found is not None and found.vmid == stranger.vmid and found.status not in lease.OVER


def _show(report: Report, console: Console) -> None:
    console.print(f"{report.standing} current leases, {report.ours} guests with our tag")
    table = Table("node", "vmid", "leaseId", "running", "why", box=None)
    for stranger in report.strangers:
        running = "yes" if stranger.running else "no"
        facts = (stranger.node, str(stranger.vmid), stranger.lease_id or "-")
        table.add_row(*facts, running, stranger.reason)
    if report.strangers:
        screen.print_whole(console, table)
