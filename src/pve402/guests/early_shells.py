"""Opens the shell of a guest while its payment settles, so that the first command need not.

Nothing runs in it until the lease is active: no route admits a command before. It is closed before
the guest of a failed creation is destroyed, as everything else in a guest is when a lease ends.
"""

import asyncio

import structlog

from pve402.domain import errors
from pve402.hub import hub
from pve402.leases import workflow
from pve402.proxmox.guests import GuestRef

log = structlog.get_logger(__name__)

AT_ONCE = 32


class EarlyShells:
    """Opens shells in the background; the first command waits for one that is being opened."""

    def __init__(self, terminal: hub.Hub) -> None:
        self._hub = terminal
        self._opening: dict[GuestRef, asyncio.Task[None]] = {}

    def open(self, guest: GuestRef) -> None:
        """Begin to open the shell of a guest that has just come up; never fails.

        Leaves it to the first command if there is little room: no unpaid guest takes the terminal
        of a paid one.
        """
        used = self._hub.open_sessions + len(self._opening)
        is_full = used >= self._hub.options.max_sessions_per_node
        if guest in self._opening or len(self._opening) >= AT_ONCE or is_full:
            return
        task = asyncio.create_task(self._open(guest), name="early-shell")
        self._opening[guest] = task
        task.add_done_callback(lambda _done: self._opening.pop(guest, None))

    async def drop(self, guest: GuestRef) -> None:
        """Give up a shell that is being opened; the hub closes one that is open."""
        task = self._opening.get(guest)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})

    async def close(self) -> None:
        """Give all of them up."""
        tasks = list(self._opening.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _open(self, guest: GuestRef) -> None:
        try:
            await self._hub.session(guest)
        except errors.Pve402Error as error:
            reason = workflow.reason_of(error)
            log.info("shell_not_opened_early", node=guest.node, vmid=guest.vmid, reason=reason)
        except Exception:
            log.exception("early_shell_failed", vmid=guest.vmid)
