"""Isolates the guest of a lease that was made before its network was isolated."""

import sys
from typing import Final

from rich.console import Console

from pve402 import bootstrap
from pve402.domain import lease
from pve402.leases import moves
from pve402.ops import enforcement
from pve402.proxmox import errors as pve

EXIT_REFUSED: Final = 1
_LATER = (
    "The rules of {name} are written. They filter within 10 seconds; connections that are open now"
    " go on until the container stops (`pve402 ops suspend`, then `resume`)."
)


async def isolate(parts: bootstrap.Components, console: Console, *, name: str) -> int:
    """Write a guest's isolation rules; 1 if its network is not isolated or the firewall is off."""
    row = await enforcement.find(parts, name)
    problem = await _problem(parts, row)
    if row is None or problem is not None:
        sys.stderr.write(f"{problem}\n")
        return EXIT_REFUSED
    try:
        await _isolate(parts, row)
    except pve.ProxmoxError as error:
        sys.stderr.write(f"the rules could not be written: {error}\n")
        return EXIT_REFUSED
    console.print(_LATER.format(name=row.lease_id), soft_wrap=True)
    return 0


async def _isolate(parts: bootstrap.Components, row: lease.Lease) -> None:
    key = str(parts.guest_network.key_of(row))
    await parts.guest_network.isolate(row)
    if row.status in {lease.LeaseStatus.ACTIVE, lease.LeaseStatus.STOPPED}:
        async with parts.db.single() as tx:
            await moves.note_isolated(parts.db, tx, row, key)


async def _problem(parts: bootstrap.Components, row: lease.Lease | None) -> str | None:
    """Return why the guest cannot be isolated."""
    if row is None:
        return "there is no such lease"
    profile = parts.leases.catalogue.networks.get(row.network)
    if profile is None or not profile.is_isolated:
        return f'the catalogue has no network {row.network!r} with isolation = "tenant"'
    if profile.families - row.addresses.keys():
        return "the lease has no recorded address, and its address filter would cut it off"
    await parts.firewalls.look()
    return parts.firewalls.problem
