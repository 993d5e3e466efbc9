"""Keeps the guests of isolated networks apart: rules first, then 11 seconds, then the link.

    before the guest is made    its rules are written, if our rights allow it; its card is down
    once it is made             its rules are written or found standing, and the time is noted
    11 seconds later            its card is switched on, and the lease says `ready`

pve-firewall polls every 10 seconds, so before that nobody knows whether rules filter. A copy runs
its tenant's programs before it is paid for, so its card is down until then, on any network.
Commands and consoles need no card. Each step may run twice, and may run in another process than the
last.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog

from pve402.domain import lease, mark, networks
from pve402.leases import (
    deals,
    firewall_view,
    guest_url,
    learned_addresses,
    moves,
    options,
    tenant_rules,
    workflow,
)
from pve402.leases import on_sale as sale
from pve402.proxmox import errors as pve
from pve402.proxmox import firewall
from pve402.proxmox import guests as pve_guests
from pve402.storage import database

log = structlog.get_logger(__name__)

SETTLED_SECONDS = networks.SETTLED_SECONDS
_ASK_AGAIN_SECONDS = 1.0
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
        on_sale: sale.OnSale,
        learned: learned_addresses.LearnedAddresses,
        own_url: guest_url.GuestUrl | None = None,
    ) -> None:
        self._learned = learned
        self._db = db
        self.own_url = own_url or guest_url.GuestUrl(None)
        self._guests = guests
        self._firewalls = firewalls
        self._view = view
        self._settings = settings
        self._on_sale = on_sale

    async def prepare(self, row: lease.Lease) -> None:
        """Write the rules of a guest that is not made yet, or clear what others left on its vmid.

        Call it inside the write turn in which the guest is asked for: nobody else's guest may
        appear on the vmid meanwhile and find rules of ours. Without the right to do so the rules
        are written once the guest is there. Raises GuestExists if the vmid is taken, BridgeMissing
        if its node cannot isolate it, and other ProxmoxErrors.
        """
        wanted = firewall.Ruleset()
        if self.awaits_rules(row):
            self._view.check_node(row.node)
            wanted = self._ruleset(row)
        elif not any(one.is_isolated for one in self._on_sale.now.networks.values()):
            return
        await self._guests.next_vmid(row.vmid)
        try:
            await self._firewalls.write(_ref(row), wanted)
        except pve.PermissionDenied as error:
            log.info("rules_not_written_ahead", vmid=row.vmid, error=workflow.reason_of(error))

    async def cleanse(self, row: lease.Lease, *, had_rules: bool) -> None:
        """Take the rules from a guest that is to have none; a clone brings those of its source.

        Those of a guest that had a tenant may be older than the catalogue; an image has none.

        Raises ConfigChanged if others stand afterwards, and other ProxmoxErrors.
        """
        is_used = any(one.is_isolated for one in self._on_sale.now.networks.values())
        if not (is_used or had_rules) or self.awaits_rules(row):
            return
        if not await self._firewalls.stands(_ref(row), firewall.Ruleset()):
            await self._firewalls.clear(_ref(row))

    async def isolate(self, row: lease.Lease) -> deals.Move:
        """Write the rules of an existing guest, unless they stand already; return the move for it.

        Raises GuestMissing if the vmid is not the lease's guest, and other ProxmoxErrors.
        """
        key = str(self.key_of(row))
        config = await self._guests.config(_ref(row))
        self._check_own(row, config)
        await self._firewalls.write(_ref(row), self._ruleset(row))
        return partial(moves.note_rules, self._db, key=key)

    def is_outdated(self, row: lease.Lease) -> bool:
        """Return whether a connected guest's rules were made of other choices than now.

        Until we know where guests reach us, what is open to them stays as it is, unless their
        tenant chose anew; and until all nodes were seen, what is closed.
        """
        if row.rules_at is None or row.link is networks.Link.PENDING:
            return False
        if self._on_sale.isolation_of(row) is None:
            return False
        if row.rules_key is None:
            return True
        was, now = tenant_rules.Key.parse(row.rules_key), self.key_of(row)
        is_opened_anew = self.own_url.is_known and was.choices != now.choices
        return is_opened_anew or (self._view.is_whole and was.closed != now.closed)

    async def fence(self, row: lease.Lease, move: Move) -> lease.Lease:
        """Learn what others gave a guest that never ran, write its rules, and note both.

        Raises as `isolate`, and GiveUp if the guest has no address that it may have.
        """
        found = await self._learned.of_stopped(row, self._profile(row))
        if found:
            row = await move(self._learned.noting(found))
        return await move(await self.isolate(row))

    def awaits_rules(self, row: lease.Lease) -> bool:
        """Return whether a guest's card is down until its rules stand.

        A copy's card is down without isolation, too. A network that has left the catalogue may have
        been isolated.
        """
        is_open = self._on_sale.network_of(row) is not None and not self._on_sale.isolation_of(row)
        return row.link is networks.Link.PENDING and not is_open

    def connects_first(self, row: lease.Lease) -> bool:
        """Return whether a guest must be connected before it is anybody's."""
        profile = self._on_sale.network_of(row)
        is_read = profile is not None and profile.is_read_from_guests
        return is_read and row.link is networks.Link.PENDING

    async def forget(self, row: lease.Lease, through: Sequence[str] = ()) -> None:
        """Clear the rules of a guest that was never made, unless somebody's guest has its vmid.

        Rules are the cluster's, so any node clears them: the first of `through` that is reached,
        or the lease's own. Destroying a guest removes its rules as well. Raises ProxmoxErrors.
        """
        if row.link is networks.Link.READY:
            return
        try:
            await self._guests.next_vmid(row.vmid)
        except pve.GuestExists:
            return
        *first, last = through or (row.node,)
        for node in first:
            try:
                await self._clear(node, row.vmid)
            except pve.Unreachable:
                continue
            return
        await self._clear(last, row.vmid)

    async def _clear(self, node: str, vmid: int) -> None:
        try:
            await self._firewalls.clear(pve_guests.GuestRef(node=node, vmid=vmid))
        except pve.PermissionDenied as error:
            log.info("rules_not_cleared", vmid=vmid, error=workflow.reason_of(error))

    async def advance(self, row: lease.Lease, move: Move) -> tuple[lease.Lease, datetime | None]:
        """Take the network of a lease's guest as far as it goes now.

        Returns the row, and when to look again; None once the guest is connected. Raises
        RetryLater while nobody knows whether rules filter, BridgeMissing if they do not on its
        node, GuestMissing, other ProxmoxErrors.
        """
        if row.link is networks.Link.READY:
            return (await move(await self.isolate(row)) if self.is_outdated(row) else row), None
        if not self.awaits_rules(row):
            await self._switch_on(row)
            return await self._connected(row, move), None
        if self._view.problem is not None:
            raise workflow.RetryLater(self._view.problem, after_seconds=_UNSEEN_SECONDS)
        self._view.check_node(row.node)
        if row.rules_at is None:
            row = await self.fence(row, move)
        ready_at = (row.rules_at or row.created_at) + timedelta(seconds=SETTLED_SECONDS)
        if await self._db.time() < ready_at:
            return row, ready_at
        await self._switch_on(row)
        if learned_addresses.awaits_guest(row, self._profile(row)):
            return await self._read_address(row, move)
        return await self._connected(row, move), None

    async def check_rules(self, row: lease.Lease) -> None:
        """Make sure that the rules of an isolated guest stand before it is started again.

        Raises RetryLater, until they filter, if they had to be written anew. Until all nodes were
        seen nobody knows what they should be, and they stay as they are.
        """
        if row.rules_at is None or not self._view.is_whole:
            return
        if self._on_sale.isolation_of(row) is None:
            return
        await self._check_stands(row)

    async def disconnect(self, row: lease.Lease) -> None:
        """Take a guest's card down. Raises GuestMissing if the vmid is not the lease's guest."""
        config = await self._guests.config(_ref(row))
        self._check_own(row, config)
        changes = {"net0": ",".join([*_without_down(config), f"{_DOWN}=1"])}
        await self._guests.update_config(_ref(row), changes, digest=config.digest)

    async def _read_address(
        self, row: lease.Lease, move: Move
    ) -> tuple[lease.Lease, datetime | None]:
        """Read once what a guest was given; then its rules name it, and stand as long again."""
        found = await self._learned.of_running(row, self._profile(row))
        now = await self._db.time()
        if not found:
            return row, now + timedelta(seconds=_ASK_AGAIN_SECONDS)
        row = await self.fence(await move(self._learned.noting(found)), move)
        return row, now + timedelta(seconds=SETTLED_SECONDS)

    async def _switch_on(self, row: lease.Lease) -> None:
        """Take `link_down` from the card and leave all else, its hardware address above all.

        Looks at the rules once more: nobody is connected whose rules somebody else changed.
        """
        config = await self._guests.config(_ref(row))
        self._check_own(row, config)
        if self.awaits_rules(row):
            await self._check_stands(row)
        card = ",".join(_without_down(config))
        if card != config.values.get("net0", ""):
            changes = {"net0": card}
            await self._guests.update_config(_ref(row), changes, digest=config.digest)

    async def _connected(self, row: lease.Lease, move: Move) -> lease.Lease:
        log.info("guest_connected", lease=row.lease_id, vmid=row.vmid)
        return await move(moves.note_link)

    async def _check_stands(self, row: lease.Lease) -> None:
        """Write the guest's rules unless they stand, and raise RetryLater until those filter."""
        wanted = self._ruleset(row)
        if not await self._firewalls.stands(_ref(row), wanted):
            await self._firewalls.write(_ref(row), wanted)
            raise workflow.RetryLater("its rules had been changed", after_seconds=SETTLED_SECONDS)

    def _ruleset(self, row: lease.Lease) -> firewall.Ruleset:
        own, nodes = self.own_url.allowed, self._view.node_addresses
        return tenant_rules.rules_of(self._profile(row), nodes, own, row.openings, row.addresses)

    def _profile(self, row: lease.Lease) -> networks.NetworkProfile:
        profile = self._on_sale.isolation_of(row)
        if profile is None:
            text = f"the catalogue has no isolated network {row.network}"
            raise pve.InvalidParameters(text, errors={})
        return profile

    def key_of(self, row: lease.Lease) -> tenant_rules.Key:
        """Name the choices that a guest's rules have to be made of now."""
        nodes = self._view.node_addresses
        return tenant_rules.key_of(self.own_url.allowed, row.openings, nodes)

    def _check_own(self, row: lease.Lease, config: pve_guests.GuestConfig) -> None:
        if not mark.is_marked(config.tags, self._settings.instance, row.lease_id):
            raise pve.GuestMissing(f"guest {row.vmid} is not the lease's")


def _without_down(config: pve_guests.GuestConfig) -> list[str]:
    """Return the parts of a guest's card, but for `link_down`."""
    parts = config.values.get("net0", "").split(",")
    return [part for part in parts if part.partition("=")[0] != _DOWN]


def _ref(row: lease.Lease) -> pve_guests.GuestRef:
    return pve_guests.GuestRef(node=row.node, vmid=row.vmid)
