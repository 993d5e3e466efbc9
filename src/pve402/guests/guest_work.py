"""Authorized work inside guests: commands and files, all of which end with the lease."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Collection
from typing import Generic, TypeVar

import structlog

from pve402.domain import lease, mark
from pve402.guests.commands import Commands
from pve402.guests.connections import Connections
from pve402.guests.consoles import Consoles
from pve402.guests.direct_consoles import DirectConsoles
from pve402.guests.early_shells import EarlyShells
from pve402.guests.ownership import StoredOwnership
from pve402.guests.peers import Peers
from pve402.guests.pulls import Pulls
from pve402.guests.rates import Rates
from pve402.guests.ssh_keys import SshKeys
from pve402.guests.streams import Streams
from pve402.hub import errors as hub_errors
from pve402.hub.detached import DetachedPrograms
from pve402.hub.entries import Entries
from pve402.hub.files import Files
from pve402.hub.hub import Hub
from pve402.hub.vnc import VncStream
from pve402.hub.watching import Watching
from pve402.leases import workflow
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests

log = structlog.get_logger(__name__)

_END_SECONDS = 5.0

Opened = TypeVar("Opened")


@dataclasses.dataclass(frozen=True)
class LeasedGuest(pve_guests.GuestRef):
    """The guest of one lease: never equal to another lease's guest, even with the same vmid."""

    lease_id: str


class OwnGuestsOnly(Generic[Opened]):
    """Opens terminals only of running guests that carry their lease's tags.

    A vmid may belong to another guest by now, even another tenant's. Reading the status is also
    the fastest way to learn that the guest is down.
    """

    def __init__(
        self,
        open_terminal: Callable[[pve_guests.GuestRef], Awaitable[Opened]],
        guests: pve_guests.Guests,
        instance: str,
    ) -> None:
        self._open_terminal = open_terminal
        self._guests = guests
        self._instance = instance

    async def __call__(self, guest: pve_guests.GuestRef) -> Opened:
        """Open a guest's terminal. Raises GuestNotRunning, TerminalUnreachable."""
        await self.check(guest)
        return await self._open_terminal(guest)

    async def check(self, guest: pve_guests.GuestRef) -> None:
        """Check that a lease's guest is running. Raises GuestNotRunning, TerminalUnreachable."""
        try:
            status = await self._guests.status(guest)
        except pve.GuestMissing as error:
            raise hub_errors.GuestNotRunning from error
        except pve.ProxmoxError as error:
            raise hub_errors.TerminalUnreachable from error
        if not self._is_of_its_lease(guest, status.tags):
            log.error("foreign_guest_on_leased_vmid", node=guest.node, vmid=guest.vmid)
            raise hub_errors.GuestNotRunning
        if status.state is not pve_guests.RunState.RUNNING:
            raise hub_errors.GuestNotRunning

    def _is_of_its_lease(self, guest: pve_guests.GuestRef, tags: Collection[str]) -> bool:
        if not isinstance(guest, LeasedGuest):
            return False
        return mark.is_marked(tags, self._instance, guest.lease_id)


@dataclasses.dataclass(kw_only=True)
class GuestWork:
    """The ways into guests; `owners` and `peers` are set only if replicas share a database.

    `early_shells` is missing if replicas cannot reach each other: a shell that one opened would
    keep the others' commands out.
    """

    hub: Hub
    commands: Commands
    files: Files
    entries: Entries
    watching: Watching
    detached: DetachedPrograms
    consoles: Consoles
    streams: Streams
    rates: Rates
    connections: Connections
    ssh_keys: SshKeys
    pulls: Pulls
    open_vnc: OwnGuestsOnly[VncStream]
    early_shells: EarlyShells | None = None
    direct: DirectConsoles | None = None
    owners: StoredOwnership | None = None
    peers: Peers | None = None
    is_closing: bool = False

    def prepare(self, row: lease.Lease) -> None:
        """Open the shell of a lease's guest in the background, if its first command needs it."""
        if self.early_shells is not None and self.commands.need_terminals:
            self.early_shells.open(ref(row))

    async def end(self, row: lease.Lease, reason: str) -> None:
        """Close everything open in a lease's guest, on whichever replica holds it.

        Never fails, and tries every part even if another fails, because the guest is stopped next.
        """
        parts = [
            self.consoles.end(row.lease_id, reason),
            self.end_here(row, reason),
            self._end_elsewhere(row, reason),
        ]
        if self.direct is not None:
            parts.append(self.direct.remove(row))
        outcomes: list[BaseException | None] = []
        try:
            async with asyncio.timeout(_END_SECONDS):
                outcomes = await asyncio.gather(*parts, return_exceptions=True)
        except TimeoutError as error:
            outcomes.append(error)
        for failure in filter(None, outcomes):
            reason = workflow.reason_of(failure)
            log.warning("guest_work_not_ended", lease=row.lease_id, vmid=row.vmid, error=reason)

    async def end_here(self, row: lease.Lease, reason: str) -> None:
        """Close everything this process holds open in a lease's guest."""
        log.info("guest_work_ends", lease=row.lease_id, vmid=row.vmid, reason=reason)
        if self.early_shells is not None:
            await self.early_shells.drop(ref(row))
        await self.hub.close_guest(ref(row))

    async def close(self) -> None:
        """End attached work and admit nothing new; detached programs keep running."""
        self.is_closing = True
        await self.consoles.close()
        if self.early_shells is not None:
            await self.early_shells.close()
        if self.direct is not None:
            await self.direct.stop()
        await self.connections.close()
        await self.commands.close()
        await self.hub.close()
        if self.peers is not None:
            await self.peers.close()

    async def _end_elsewhere(self, row: lease.Lease, reason: str) -> None:
        if self.owners is None or self.peers is None:
            return
        address = await self.owners.address_of_other(ref(row))
        if address:
            await self.peers.end(address, row.lease_id, reason)


def ref(row: lease.Lease) -> LeasedGuest:
    """Return the guest of a lease."""
    return LeasedGuest(node=row.node, vmid=row.vmid, lease_id=row.lease_id)
