"""Shows the operator all leases that are not over."""

import json
import sys

from rich.console import Console
from rich.table import Table

from pve402 import bootstrap
from pve402.domain import lease
from pve402.ops import screen
from pve402.storage import lease_rows

_COLUMNS = ("leaseId", "status", "guest", "owner", "until", "attempts", "last error")


async def show(parts: bootstrap.Components, console: Console, *, as_json: bool = False) -> int:
    """Print every lease that is not over; return 0."""
    async with parts.db.read() as tx:
        found = await lease_rows.list_standing(tx)
    if as_json:
        sys.stdout.write(json.dumps([_facts(row) for row in found], indent=2) + "\n")
        return 0
    if not found:
        console.print("there are no current leases")
        return 0
    table = Table(*_COLUMNS, box=None)
    for row in found:
        guest = f"{row.node}/{row.vmid}"
        facts = (row.lease_id, standing(row), guest, whose(row), until(row))
        table.add_row(*facts, str(row.attempts), screen.plain(row.last_error or ""))
    screen.print_whole(console, table)
    return 0


def until(row: lease.Lease) -> str:
    """Return the end of the paid time."""
    return row.expires_at.strftime("%Y-%m-%d %H:%M:%S") if row.expires_at else "-"


def standing(row: lease.Lease) -> str:
    """Return the state of a lease, and whether it is paused or suspended."""
    if row.suspension is not None:
        return f"{row.status.value}, suspended"
    return f"{row.status.value}, paused" if row.is_paused else row.status.value


def whose(row: lease.Lease) -> str:
    """Return the account, or which image it is."""
    if row.is_private_image:
        return f"private image {screen.plain(row.hostname)} of {row.account}"
    if not row.is_image:
        return row.owner
    return f"image {screen.plain(row.sku)}" + (", replaced" if row.end_reason else "")


def _facts(row: lease.Lease) -> dict[str, str | int | bool | None]:
    return {
        "leaseId": row.lease_id,
        "status": row.status.value,
        "paused": row.is_paused,
        "suspended": row.suspension is not None,
        "node": row.node,
        "vmid": row.vmid,
        "owner": row.owner,
        "image": row.sku if row.is_image else None,
        "clonedFrom": row.base,
        "expiresAt": row.expires_at.isoformat() if row.expires_at else None,
        "attempts": row.attempts,
        "lastError": row.last_error,
    }
