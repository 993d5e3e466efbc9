"""Reinstallations of leases, and what Proxmox has of their guests."""

import asyncio
from typing import Any

from tests.support.installation import Installation

from pve402.domain import lease, mark, reinstalls
from pve402.leases.alterations import reinstalls as use_cases
from pve402.storage import tables

OTHER_VOLUME = "local:vztmpl/fakedeb_1_amd64.tar.gz"


async def reinstall(shop: Installation, row: lease.Lease, **wish: Any) -> use_cases.Outcome:
    """Reinstall a lease as its tenant would now."""
    now = await shop.leases.find(row.lease_id)
    made = reinstalls.Wish(**{"password": "new password", **wish})
    return await shop.leases.reinstalls.reinstall(now, made)


async def latest(shop: Installation) -> reinstalls.Reinstall:
    """The only reinstallation."""
    (found,) = await shop.rows(tables.reinstalls)
    return reinstalls.Reinstall.from_row(found)


def options(shop: Installation, vmid: int) -> dict[str, Any]:
    """The options of a guest on Proxmox, but for its description."""
    found = dict(shop.proxmox.world.guests[vmid].config.options)
    found.pop("description", None)
    return found


def starts(shop: Installation) -> list[tuple[int, dict[str, Any]]]:
    """The vmid and the options of every guest that is started from now on."""
    guests, seen = shop.parts.guests, list[tuple[int, dict[str, Any]]]()
    honest = guests.start

    async def watched(ref: Any) -> Any:
        seen.append((ref.vmid, options(shop, ref.vmid)))
        return await honest(ref)

    guests.start = watched  # type: ignore[method-assign]
    return seen


async def unaccounted(shop: Installation) -> list[str]:
    """What is wrong with guests on Proxmox: without a row, or with another one's mark."""
    standing = {row.vmid: row for row in await shop.leases_now() if row.status not in lease.OVER}
    wrong = []
    for vmid, guest in shop.proxmox.world.guests.items():
        row, tags = standing.get(vmid), guest.config.text("tags").split(";")
        if row is None:
            wrong.append(f"guest {vmid} has no row")
        elif not mark.is_marked(tags, shop.parts.lease_options.instance, row.lease_id):
            wrong.append(f"guest {vmid} has the tags {tags}")
    return wrong


def reinstalling(
    shop: Installation, row: lease.Lease, **wish: Any
) -> "asyncio.Task[use_cases.Outcome]":
    """Begin a reinstallation that may take long."""
    return asyncio.create_task(reinstall(shop, row, **wish))


async def gathered(*tasks: "asyncio.Task[use_cases.Outcome]") -> list[Any]:
    """Wait for tasks; return what they returned or raised."""
    return await asyncio.gather(*tasks, return_exceptions=True)
