"""Rebuilds a lost lease table from the guests' signed descriptions.

Only descriptions with a valid HMAC by this installation's secret key count, so that people who may
edit a guest on Proxmox cannot make themselves its owner. Leases already in the table stay
unchanged. Orders, receipts and tokens cannot be restored; tenants sign for a new token.

A rollback that was lost with the database may have left a guest stopped, with the size of its
snapshot. So a stopped guest gets its lease's size back before the lease is written.
"""

import dataclasses
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from pve402 import bootstrap
from pve402.domain import lease, mark, networks, power, private_images
from pve402.leases import reservation, workflow
from pve402.ops import screen
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import resources
from pve402.storage import lease_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """A guest and the lease in its description."""

    guest: resources.GuestSummary
    record: mark.GuestRecord
    is_stopped: bool  # as its node says; the cluster's list may not know
    is_unplugged: bool  # its card is still down, until its isolation rules stand
    config: pve_guests.GuestConfig = dataclasses.field(repr=False)

    @property
    def ref(self) -> pve_guests.GuestRef:
        """Names the guest to Proxmox."""
        return pve_guests.GuestRef(node=self.guest.node, vmid=self.guest.vmid)

    @property
    def needs_its_size(self) -> bool:
        """Whether it is stopped, and its cores or memory are not those of its lease."""
        return self.is_stopped and not _has_size(self.config, self.record.size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rebuild:
    """Whether to write what was found."""

    apply: bool

    async def run(self, parts: bootstrap.Components, console: Console) -> int:
        """Show the leases that can be restored, restore them on --apply; 1 if some cannot be."""
        if self.apply:
            await parts.open()
        found, unreadable = await _read_guests(parts)
        missing = await _not_in_table(parts, found)
        _show(missing, console)
        for guest in unreadable:
            console.print(f"[yellow]{guest.vmid}: no valid description, left alone[/yellow]")
        if self.apply:
            written = await _write_all(parts, missing, console)
            console.print(f"{written} leases were written.")
            return 1 if unreadable or written < len(missing) else 0
        if missing:
            console.print("Nothing was written. Use --apply to write these leases.")
        return 1 if unreadable else 0


async def _read_guests(
    parts: bootstrap.Components,
) -> tuple[list[Found], list[resources.GuestSummary]]:
    """Read the description of every guest with our tag."""
    tag = mark.instance_tag(parts.lease_options.instance)
    seen = await parts.nodes.cluster_resources()
    found, unreadable = [], []
    for guest in seen.guests:
        if tag not in guest.tags:
            continue
        ref = pve_guests.GuestRef(node=guest.node, vmid=guest.vmid)
        config = await parts.guests.config(ref)
        record = parts.machines.read_description(config.description)
        if record is None or mark.lease_tag(record.lease_id) not in config.tags:
            unreadable.append(guest)
        else:
            status = await parts.guests.status(ref)
            is_stopped = status.state is pve_guests.RunState.STOPPED
            is_unplugged = "link_down=1" in config.values.get("net0", "").split(",")
            how = {"is_stopped": is_stopped, "is_unplugged": is_unplugged}
            found.append(Found(guest=guest, record=record, config=config, **how))
    return found, unreadable


async def _not_in_table(parts: bootstrap.Components, found: list[Found]) -> list[Found]:
    if not await parts.db.has_tables():  # the file was lost with everything in it
        return found
    async with parts.db.read() as tx:
        known = await lease_rows.list_by_ids(tx, [one.record.lease_id for one in found])
    ids = {row.lease_id for row in known}
    return [one for one in found if one.record.lease_id not in ids]


async def _write_all(parts: bootstrap.Components, missing: list[Found], console: Console) -> int:
    """Write the leases, except where a guest cannot get its size back; return how many."""
    now, written = await parts.db.time(), 0
    for one in missing:
        try:
            if one.needs_its_size:
                await _give_its_size(parts, one)
        except pve.ProxmoxError as error:
            reason = screen.plain(workflow.reason_of(error))
            console.print(
                f"[yellow]{one.guest.vmid}: its size could not be set, so its lease was not"
                f" written; run this again ({reason})[/yellow]"
            )
            continue
        await _write(parts, one, now)
        written += 1
    return written


async def _give_its_size(parts: bootstrap.Components, one: Found) -> None:
    """Give a guest its lease's size, and read it back. Raises ProxmoxErrors.

    Proxmox refuses if the guest's options, its tags among them, have changed since they were read.
    """
    size = one.record.size
    changes = {"cores": size.cores, "memory": size.memory_mb}
    await parts.guests.update_config(one.ref, changes, digest=one.config.digest)
    if not _has_size(await parts.guests.config(one.ref), size):
        raise pve.ProxmoxFault("the guest has another size all the same")


def _has_size(config: pve_guests.GuestConfig, size: lease.Size) -> bool:
    return (config.cores, config.memory_mb) == (size.cores, size.memory_mb)


async def _write(parts: bootstrap.Components, one: Found, now: datetime) -> None:
    """Write one lease: active until its end, and due at once if its end has passed.

    A stopped guest stays stopped until its tenant starts it, since the tenant may have stopped
    it; that of a paused lease is stopped if it runs. One whose end has passed was stopped because
    of that, and runs again once it is renewed.
    A guest of the warm pool returns to the pool, and the filler decides what to do with it; so it
    is with a prepared image, which is not cloned again, as nobody knows what it was made from. A
    private image is never to run.
    """
    record, guest = one.record, one.guest
    active = record.owner not in {lease.NOBODY, lease.IMAGE}
    is_paused = record.metered is not None and record.metered.pause is not None
    is_private = record.owner.startswith(lease.PRIVATE)
    is_down = is_private or (active and (is_paused or (record.expires_at > now and one.is_stopped)))
    wanted = power.Wanted.STOPPED if is_down else power.Wanted.RUNNING
    if record.suspension is not None:
        wanted = power.Wanted.SUSPENDED
    row = lease.Lease(
        lease_id=record.lease_id,
        status=_status(record.owner),
        node=guest.node,
        vmid=guest.vmid,
        owner=record.owner,
        sku=record.sku,
        size=record.size,
        hostname=guest.name,
        template="",
        rates=_rates(parts, record.sku, is_private=is_private),
        created_at=now,
        expires_at=record.expires_at if active else None,
        network=record.network,
        addresses=record.addresses,
        link=networks.Link.PENDING if one.is_unplugged else networks.Link.READY,
        rules_at=now if _is_isolated(parts, one) else None,
        openings=record.openings,
        wanted=wanted,
        suspension=record.suspension,
        metadata=_metadata(record),
    )
    if active and record.metered is not None:
        row = row.evolve(**record.metered.facts)
    async with parts.db.begin() as tx:
        await reservation.restore(parts.db, tx, row)


def _metadata(record: mark.GuestRecord) -> dict[str, Any]:
    """Return what the lease's metadata said of pauses; the rest is lost."""
    chosen = {"wakeOn": list(record.wake_on), "idlePauseMinutes": record.idle_pause_minutes}
    return {name: value for name, value in chosen.items() if value}


def _status(owner: str) -> lease.LeaseStatus:
    unowned = {
        lease.NOBODY: lease.LeaseStatus.POOLED,
        lease.IMAGE: lease.LeaseStatus.STOPPED,
    }
    return unowned.get(owner, lease.LeaseStatus.ACTIVE)


def _is_isolated(parts: bootstrap.Components, one: Found) -> bool:
    """Return whether a connected guest has rules, or can be given them: its addresses are known."""
    profile = parts.leases.catalogue.networks.get(one.record.network)
    if profile is None or not profile.is_isolated or one.is_unplugged:
        return False
    return profile.families <= one.record.addresses.keys()


def _rates(parts: bootstrap.Components, name: str, *, is_private: bool) -> dict[str, str]:
    """Return a sku's current rates, or the cheapest sku's if it is no longer on sale.

    A private image gets those for images; what it burns is in its description.
    """
    skus = parts.leases.catalogue.skus
    sku = skus.get(name) or min(skus.values(), key=lambda one: one.lowest_price_usd())
    rates = private_images.rates_of(sku.rates) if is_private else sku.rates
    return rates.to_strings()


def _show(missing: list[Found], console: Console) -> None:
    table = Table("leaseId", "guest", "owner", "until", box=None)
    for one in missing:
        until = one.record.expires_at.strftime("%Y-%m-%d %H:%M UTC")
        place = f"{one.guest.node}/{one.guest.vmid}"
        table.add_row(one.record.lease_id, place, one.record.owner, until)
    screen.print_whole(console, table)
    for one in missing:
        if one.needs_its_size:
            was, size = one.config, one.record.size
            console.print(
                f"{one.guest.vmid}: stopped, with {was.cores or 'all'} cores, {was.memory_mb} MB;"
                f" --apply gives it {size.cores} cores, {size.memory_mb} MB, as its lease has"
            )
