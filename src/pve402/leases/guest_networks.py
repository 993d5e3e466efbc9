"""Keeps the guests of isolated networks apart: rules first, then 11 seconds, then the link.

    before the guest is made    its rules are written, if our rights allow it; its card is down
    once it is made             its rules are written or found standing, and the time is noted
    11 seconds later            its card is switched on, and the lease says `ready`

pve-firewall polls every 10 seconds, so before that nobody knows whether rules filter. Commands and
consoles need no card. Each step may run twice, and may run in another process than the last.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

import structlog

from pve402.domain import catalogue, lease, mark, networks
from pve402.leases import deals, firewall_view, moves, options, tenant_rules, workflow
from pve402.proxmox import errors as pve
from pve402.proxmox import firewall
from pve402.proxmox import guests as pve_guests
from pve402.storage import database

log = structlog.get_logger(__name__)

SETTLED_SECONDS = 11.0
"""How long rules must stand until they surely filter: a poll of pve-firewall, and a second."""
_UNSEEN_SECONDS = 10.0
_DOWN = "link_down"
Move = Callable[[deals.Move], Awaitable[lease.Lease]]


class GuestNetworks:
    """Writes the rules of guests, and switches their cards on."""

    def __init__(
        self,
        db: database.Database,
        guests: pve_guests.Guests,
        firewalls: firewall.GuestFirewalls,
        view: firewall_view.FirewallView,
        *,
        settings: options.LeaseOptions,
        sku_catalogue: catalogue.Catalogue,
    ) -> None:
        self._db = db
        self._guests = guests
        self._firewalls = firewalls
        self._view = view
        self._settings = settings
        self._catalogue = sku_catalogue
        self._isolates = any(profile.is_isolated for profile in sku_catalogue.networks.values())

    async def prepare(self, row: lease.Lease) -> None:
        """Write the rules of a guest that is not made yet, or clear what others left on its vmid.

        Without the right to do so the rules are written once the guest is there. Raises
        BridgeMissing if its node cannot isolate it, and other ProxmoxErrors.
        """
        wanted = firewall.Ruleset()
        if row.link is networks.Link.PENDING:
            self._view.check_node(row.node)
            wanted = self._ruleset(row)
        elif not self._isolates:
            return
        try:
            await self._firewalls.write(_ref(row), wanted)
        except pve.PermissionDenied as error:
            log.info("rules_not_written_ahead", vmid=row.vmid, error=workflow.reason_of(error))

    async def isolate(self, row: lease.Lease) -> None:
        """Write the rules of an existing guest, unless they stand already.

        Raises GuestMissing if the vmid is not the lease's guest, and other ProxmoxErrors.
        """
        config = await self._guests.config(_ref(row))
        self._check_own(row, config)
        await self._firewalls.write(_ref(row), self._ruleset(row))

    async def forget(self, row: lease.Lease) -> None:
        """Clear the rules of a guest that was never made. The caller knows that its vmid is free.

        Destroying a guest removes its rules as well.
        """
        if row.link is networks.Link.READY:
            return
        try:
            await self._firewalls.clear(_ref(row))
        except pve.PermissionDenied as error:
            log.info("rules_not_cleared", vmid=row.vmid, error=workflow.reason_of(error))

    async def advance(self, row: lease.Lease, move: Move) -> tuple[lease.Lease, datetime | None]:
        """Take the network of a lease's guest as far as it goes now.

        Returns the row, and when to look again; None once the guest is connected. Raises
        RetryLater while nobody knows whether rules filter, GuestMissing, other ProxmoxErrors.
        """
        if row.link is networks.Link.READY:
            return row, None
        if self._view.problem is not None:
            raise workflow.RetryLater(self._view.problem, after_seconds=_UNSEEN_SECONDS)
        if row.rules_at is None:
            await self.isolate(row)
            row = await move(partial(moves.note_rules, self._db))
        ready_at = (row.rules_at or row.created_at) + timedelta(seconds=SETTLED_SECONDS)
        if await self._db.time() < ready_at:
            return row, ready_at
        await self._switch_on(row)
        log.info("guest_connected", lease=row.lease_id, vmid=row.vmid)
        return await move(moves.note_link), None

    async def _switch_on(self, row: lease.Lease) -> None:
        """Take `link_down` from the card and leave all else, its hardware address above all.

        Looks at the rules once more: nobody is connected whose rules somebody else changed.
        """
        config = await self._guests.config(_ref(row))
        self._check_own(row, config)
        if not await self._firewalls.stands(_ref(row), self._ruleset(row)):
            await self._firewalls.write(_ref(row), self._ruleset(row))
            raise workflow.RetryLater("its rules had been changed", after_seconds=SETTLED_SECONDS)
        parts = config.values.get("net0", "").split(",")
        kept = [part for part in parts if part.partition("=")[0] != _DOWN]
        if len(kept) < len(parts):
            changes = {"net0": ",".join(kept)}
            await self._guests.update_config(_ref(row), changes, digest=config.digest)

    def _ruleset(self, row: lease.Lease) -> firewall.Ruleset:
        profile = self._catalogue.networks.get(row.network)
        if profile is None or not profile.is_isolated:
            text = f"the catalogue has no isolated network {row.network}"
            raise pve.InvalidParameters(text, errors={})
        return tenant_rules.rules_of(profile, self._view.node_addresses)

    def _check_own(self, row: lease.Lease, config: pve_guests.GuestConfig) -> None:
        if not mark.is_marked(config.tags, self._settings.instance, row.lease_id):
            raise pve.GuestMissing(f"guest {row.vmid} is not the lease's")


def _ref(row: lease.Lease) -> pve_guests.GuestRef:
    return pve_guests.GuestRef(node=row.node, vmid=row.vmid)
