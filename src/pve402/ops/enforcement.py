"""What the operator does about a lease: suspend it, resume it, end it.

The command records the decision on the lease; the running service carries it out within seconds,
and again after a crash.
"""

import dataclasses
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from rich.console import Console

from pve402 import bootstrap
from pve402.domain import lease
from pve402.leases import moves
from pve402.ops import screen
from pve402.storage import lease_rows, queue, transaction

EXIT_REFUSED: Final = 1
LONGEST_REASON: Final = 120  # it has to fit into the guest's description with the lease
_MAY = frozenset({lease.LeaseStatus.ACTIVE, lease.LeaseStatus.STOPPED})
_MAY_END = _MAY | {lease.LeaseStatus.STOPPING}

Move = Callable[[transaction.Transaction, lease.Lease], Awaitable[lease.Lease]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Suspend:
    """Stops the guest of a lease and keeps its tenant from starting, using or renewing it."""

    name: str
    reason: str
    time_held: bool = False

    async def run(self, parts: bootstrap.Components, console: Console) -> int:
        """Suspend the lease; 1 if that is impossible now."""
        if not 1 <= len(self.reason) <= LONGEST_REASON or not self.reason.isprintable():
            return _refuse(f"the reason must be 1 to {LONGEST_REASON} printable characters")
        row = await find(parts, self.name)
        if row is None or row.status not in _MAY:
            return _refuse("no active lease has this leaseId or ctid")
        if row.suspension is not None:
            return _refuse(f"it is suspended already: {row.suspension.reason}")
        time = "stands still" if self.time_held else "runs on"
        return await _apply(parts, console, row, self._move(parts), f"suspended; its time {time}")

    def _move(self, parts: bootstrap.Components) -> Move:
        async def move(tx: transaction.Transaction, row: lease.Lease) -> lease.Lease:
            return await moves.suspend(parts.db, tx, row, self.reason, time_held=self.time_held)

        return move


async def resume(parts: bootstrap.Components, console: Console, *, name: str) -> int:
    """Let the tenant use a suspended lease again; 1 if that is impossible now."""
    row = await find(parts, name)
    if row is None or row.suspension is None or row.status not in _MAY:
        return _refuse("no suspended lease has this leaseId or ctid")

    async def move(tx: transaction.Transaction, row: lease.Lease) -> lease.Lease:
        return await moves.resume(parts.db, tx, row)

    return await _apply(parts, console, row, move, "resumed")


async def end(parts: bootstrap.Components, console: Console, *, name: str) -> int:
    """End a lease early and destroy its guest, without a refund; 1 if that is impossible now."""
    row = await find(parts, name)
    if row is None or row.status not in _MAY_END:
        return _refuse("no active lease has this leaseId or ctid")

    async def move(tx: transaction.Transaction, row: lease.Lease) -> lease.Lease:
        return await moves.end_by_operator(parts.db, tx, row)

    return await _apply(parts, console, row, move, "is being ended")


async def find(parts: bootstrap.Components, name: str) -> lease.Lease | None:
    """Return a tenant's lease or private image by its leaseId or its current ctid."""
    async with parts.db.read() as tx:
        if lease.is_lease_id(name):
            found = await lease_rows.get(tx, name)
        elif name.isascii() and name.isdigit() and len(name) <= 9:
            found = await lease_rows.get_by_vmid(tx, int(name))
        else:
            found = None
    if found is None or (found.is_unowned and not found.is_private_image):
        return None
    return found


async def _apply(
    parts: bootstrap.Components, console: Console, row: lease.Lease, move: Move, done: str
) -> int:
    try:
        async with parts.db.begin() as tx:
            await move(tx, row)
    except queue.FenceLostError:
        return _refuse("another change to this lease is in progress; try again in a moment")
    words = f"{row.lease_id} ({row.node}/{row.vmid}, {row.owner}) {done}"
    console.print(screen.plain(words), soft_wrap=True)
    return 0


def _refuse(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return EXIT_REFUSED
