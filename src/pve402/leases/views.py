"""Leases with the current state of their guests in Proxmox VE."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence

from pve402.domain import errors, lease, mark, user_data
from pve402.leases import cluster, machine, seen_addresses
from pve402.proxmox import errors as pve
from pve402.proxmox import resources

FRESH_SECONDS = 1.0
_MOST_ASKED = 16
_STATES = {
    machine.Sight.RUNNING: resources.RunState.RUNNING,
    machine.Sight.STOPPED: resources.RunState.STOPPED,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeaseView:
    """A lease and the current state of its guest in Proxmox."""

    lease: lease.Lease
    guest: resources.GuestSummary | None
    seen: bool  # False: Proxmox did not answer, so the guest's state is unknown
    own_addresses: seen_addresses.Found = ()  # by the guest's own account
    script: user_data.UserData | None = None  # what came with it, once it was read


class LeaseViews:
    """Reads guests with one call for all, plus one for each whose state is in doubt."""

    def __init__(
        self,
        view: cluster.ClusterView,
        machines: machine.Machines,
        addresses: seen_addresses.SeenAddresses,
        instance: str,
    ) -> None:
        self._view = view
        self._machines = machines
        self._addresses = addresses
        self._instance = instance

    async def of(self, rows: list[lease.Lease]) -> list[LeaseView]:
        """Return leases with their guests, in the same order, and with addresses seen before."""
        return [self._with_known(view) for view in await self._seen(rows)]

    async def one(self, row: lease.Lease) -> LeaseView:
        """Return a lease with its guest; asks for the addresses that a running guest tells."""
        (view,) = await self._seen([row])
        if _is_running(view) and self._addresses.is_due(row):
            await self._addresses.ask(row)
        return self._with_known(view)

    async def _seen(self, rows: list[lease.Lease]) -> list[LeaseView]:
        standing = [row for row in rows if row.status not in lease.OVER]
        if not standing:
            return [LeaseView(lease=row, guest=None, seen=True) for row in rows]
        try:
            guests = await self._guests(standing)
        except pve.ProxmoxError:
            return [LeaseView(lease=row, guest=None, seen=False) for row in rows]
        views = [LeaseView(lease=row, guest=self._guest_of(row, guests), seen=True) for row in rows]
        return await self._with_states(views)

    def lacks_addresses(self, view: LeaseView) -> bool:
        """Return whether the lease's guest will have an address that was not seen yet."""
        row = view.lease
        if row.status in lease.OVER or not row.is_to_run:
            return False
        return not row.handed_over or (_is_running(view) and self._addresses.are_coming(row))

    def node_figures(self) -> Sequence[resources.NodeSummary]:
        """Return the nodes' figures, a few seconds old; raise ProxmoxUnavailable if unknown."""
        seen = self._view.latest()
        if seen is None:
            raise errors.ProxmoxUnavailable
        return seen.nodes

    async def _guests(self, rows: list[lease.Lease]) -> Mapping[int, resources.GuestSummary]:
        """Return all guests by vmid, with at most one call.

        A view from a second ago is good enough, unless one of these guests is newer than that.
        """
        view = self._view
        seen = view.latest() if view.age_seconds <= FRESH_SECONDS else None
        guests = {guest.vmid: guest for guest in seen.guests} if seen else {}
        if seen is None or any(self._guest_of(row, guests) is None for row in rows):
            guests = {guest.vmid: guest for guest in (await view.fresh(0.0)).guests}
        return guests

    def _guest_of(
        self, row: lease.Lease, guests: Mapping[int, resources.GuestSummary]
    ) -> resources.GuestSummary | None:
        """Return a lease's guest; never show another lease's guest that has its vmid now."""
        found = guests.get(row.vmid)
        if row.status in lease.OVER or found is None:
            return None
        return found if mark.is_marked(found.tags, self._instance, row.lease_id) else None

    async def _with_states(self, views: list[LeaseView]) -> list[LeaseView]:
        """Ask for the state of each guest whose state in Proxmox's list may be wrong.

        Asks only for the newest leases, so that the cost of a long list stays bounded.
        """
        doubtful = [view for view in views if _is_doubtful(view)]
        asked = sorted(doubtful, key=lambda view: view.lease.created_at)[-_MOST_ASKED:]
        answers = await asyncio.gather(*(self._with_state(view) for view in asked))
        known = {view.lease.lease_id: view for view in answers}
        return [known.get(view.lease.lease_id, view) for view in views]

    async def _with_state(self, view: LeaseView) -> LeaseView:
        try:
            sight = await self._machines.look(view.lease)
        except (pve.ProxmoxError, machine.GuestMovedError):
            return view
        state = _STATES.get(sight)
        if view.guest is None or state is None:
            return view
        return dataclasses.replace(view, guest=dataclasses.replace(view.guest, state=state))

    def _with_known(self, view: LeaseView) -> LeaseView:
        """Add the addresses that a running guest was seen to have."""
        if not _is_running(view):
            return view
        return dataclasses.replace(view, own_addresses=self._addresses.known(view.lease))


def _is_running(view: LeaseView) -> bool:
    return view.guest is not None and view.guest.state is resources.RunState.RUNNING


def _is_doubtful(view: LeaseView) -> bool:
    """Whether the list has no state of a guest, or another than the lease should be in.

    The list is some seconds behind, and stands still while the node's statistics fail.
    """
    if view.guest is None:
        return False
    row = view.lease
    to_run = row.status is lease.LeaseStatus.ACTIVE and row.is_to_run
    expected = resources.RunState.RUNNING if to_run else resources.RunState.STOPPED
    return view.guest.state is not expected
