"""Shows the standing leases to the operator."""

from rich.console import Console
from rich.table import Table

from pve402 import bootstrap
from pve402.storage import lease_rows


async def show(parts: bootstrap.Components, console: Console) -> int:
    """Print every lease that is not over; 0."""
    async with parts.db.read() as tx:
        found = await lease_rows.list_standing(tx)
    table = Table("leaseId", "status", "guest", "owner", "until", "attempts", "last error")
    for row in found:
        until = row.expires_at.strftime("%Y-%m-%d %H:%M:%S") if row.expires_at else "-"
        guest = f"{row.node}/{row.vmid}"
        facts = (row.lease_id, row.status.value, guest, row.owner, until)
        table.add_row(*facts, str(row.attempts), row.last_error or "")
    console.print(table)
    return 0
