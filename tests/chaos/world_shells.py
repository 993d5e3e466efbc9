"""What stands for the shells of guests, since none runs in the simulated world.

A guest answers if it runs and carries its lease's tag, which is what the hub asks for. The world
notes whose secrets it was given, for the audit.
"""

from typing import Any

import aiohttp

from pve402 import bootstrap
from pve402.domain import lease, mark
from pve402.guests import detached_ways, guest_work, rekeying, shell_looks
from pve402.hub import errors as hub_errors
from pve402.leases import machine, warm_guests, workflow
from pve402.leases.images import oci_trials
from pve402.proxmox import errors as pve
from pve402.proxmox import guests as pve_guests


class Shells:
    """Answers for the shells of an installation's guests, in the places of all that ask them."""

    parts: bootstrap.Components

    def __init__(self, hand_url: str) -> None:
        """Name the world's hand; `parts` are set once they are built."""
        self._hand_url = hand_url

    def install(self) -> None:
        """Have what is built from now on ask this, and not through the hub."""
        patched: tuple[tuple[Any, str, Any], ...] = (
            (rekeying, "TerminalRekeying", lambda _hub: self),
            (shell_looks, "ShellLooks", lambda _hub: self),
            (detached_ways, "are_running", self._are_running),
        )
        for owner, name, stand_in in patched:
            setattr(owner, name, stand_in)

    async def check(self, row: lease.Lease) -> None:
        """Raise NotReady unless the shell answers."""
        try:
            answers = await self._answers(row)
        except pve.ProxmoxError as error:
            raise warm_guests.NotReady(workflow.reason_of(error)) from error
        if not answers:
            raise warm_guests.NotReady(f"guest {row.vmid} does not answer")

    async def rekey(self, row: lease.Lease, _secrets: machine.Secrets) -> None:
        """Give a guest its tenant's secrets. Raises RetryLater."""
        try:
            await self.check(row)
        except warm_guests.NotReady as error:
            raise workflow.RetryLater(f"not re-keyed: {error}") from error
        told = {"vmid": row.vmid, "lease": row.lease_id}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self._hand_url}/keyed", json=told) as response,
        ):
            response.raise_for_status()

    async def leave(self, row: lease.Lease) -> None:
        """There is nothing to close."""

    async def ask(self, row: lease.Lease) -> oci_trials.Shell:
        """Say what a shell says of itself. Raises GuestNotRunning, RetryLater."""
        try:
            answers = await self._answers(row)
        except pve.ProxmoxError as error:
            raise workflow.RetryLater(workflow.reason_of(error)) from error
        if not answers:
            raise hub_errors.GuestNotRunning("the guest is down")
        return oci_trials.Shell(machine="x86_64", user="0")

    async def _are_running(self, _work: guest_work.GuestWork, _row: lease.Lease) -> bool:
        return False

    async def _answers(self, row: lease.Lease) -> bool:
        ref = pve_guests.GuestRef(node=row.node, vmid=row.vmid)
        status = await self.parts.guests.status(ref)
        config = await self.parts.guests.config(ref)
        is_own = mark.is_marked(config.tags, self.parts.lease_options.instance, row.lease_id)
        return is_own and status.state is pve_guests.RunState.RUNNING
