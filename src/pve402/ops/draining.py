"""Empties a node: nothing new is placed there, and what it holds ends or is migrated."""

import sys
from typing import Final

from rich.console import Console
from rich.table import Table

from pve402 import bootstrap
from pve402.ops import leases, screen
from pve402.storage import drain_rows, lease_rows

EXIT_REFUSED: Final = 1


async def drain(parts: bootstrap.Components, console: Console, *, node: str) -> int:
    """Place nothing more on a node, and show what it still holds; 1 if there is no such node."""
    seen = await parts.nodes.cluster_resources()
    names = sorted(each.node for each in seen.nodes)
    if node not in names:
        sys.stderr.write(f"the cluster has no node {node[:64]!r}; it has {', '.join(names)}\n")
        return EXIT_REFUSED
    async with parts.db.begin() as tx:
        await drain_rows.put(parts.db, tx, node)
    await _show_held(parts, console, node)
    return 0


async def undrain(parts: bootstrap.Components, console: Console, *, node: str) -> int:
    """Place guests on a node again; 1 if it was not drained."""
    async with parts.db.begin() as tx:
        if not await drain_rows.remove(tx, node):
            sys.stderr.write(f"node {node[:64]!r} is not drained\n")
            return EXIT_REFUSED
    console.print(f"{node} is used again")
    return 0


async def _show_held(parts: bootstrap.Components, console: Console, node: str) -> None:
    async with parts.db.read() as tx:
        rows = [row for row in await lease_rows.list_standing(tx) if row.node == node]
    if not rows:
        console.print(f"{node} is drained and holds no lease")
        return
    table = Table("leaseId", "ctid", "status", "owner", "until", box=None)
    for row in sorted(rows, key=lambda row: (row.expires_at is not None, row.expires_at)):
        facts = (row.lease_id, row.ctid, leases.standing(row), leases.whose(row))
        table.add_row(*facts, leases.until(row))
    screen.print_whole(console, table)
    words = "Migrate them with Proxmox VE, or wait until their leases end."
    console.print(f"{node} is drained and still holds {len(rows)} of our guests. {words}")
