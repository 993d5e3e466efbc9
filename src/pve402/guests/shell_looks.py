"""Asks a guest's shell what it runs on and whose it is, by little more than the shell."""

import asyncio
from typing import Final

from pve402.domain import errors, lease
from pve402.guests import guest_work
from pve402.hub import errors as hub_errors
from pve402.hub import hub
from pve402.hub.request import ExecRequest, ExecResult
from pve402.leases import workflow
from pve402.leases.images import oci_trials
from pve402.proxmox import errors as pve

_LIMIT_SECONDS = 20.0
_MOST_CHARACTERS: Final = 32
_OURS = (
    hub_errors.TooManyCommands,
    hub_errors.NodeConsolesFull,
    hub_errors.Moved,
    errors.TryLater,
)
"""Why nobody could ask, whatever the guest is."""
ASK: Final = r"""
machine=$(uname -m 2>/dev/null) || machine=
user=
while read -r name value rest; do
  case $name in Uid:) user=$value ;; esac
done </proc/self/status
echo "$machine,$user"
"""


class ShellLooks:
    """Asks through a session of its own."""

    def __init__(self, terminal: hub.Hub) -> None:
        self._hub = terminal

    async def ask(self, row: lease.Lease) -> oci_trials.Shell:
        """Ask once, and close the session.

        Raises Pve402Error and TimeoutError, RetryLater if that says nothing of the guest.
        """
        try:
            ended = await self._run(row)
        except _OURS as error:
            raise workflow.RetryLater(workflow.reason_of(error)) from error
        except hub_errors.TerminalUnreachable as error:
            if isinstance(error.__cause__, pve.ProxmoxError):
                raise workflow.RetryLater(workflow.reason_of(error.__cause__)) from error
            raise
        machine, comma, user = ended.stdout.decode("ascii", "replace").partition(",")
        if ended.timed_out or not comma:
            raise hub_errors.NoShell("the guest's shell did not say what it runs on")
        return oci_trials.Shell(
            machine=machine.strip()[:_MOST_CHARACTERS], user=user.strip()[:_MOST_CHARACTERS]
        )

    async def _run(self, row: lease.Lease) -> ExecResult:
        guest = guest_work.ref(row)
        wish = ExecRequest(command=ASK, timeout_seconds=_LIMIT_SECONDS, has_variables=False)
        try:
            async with asyncio.timeout(2 * _LIMIT_SECONDS):
                return await self._hub.exec(guest, wish)
        finally:
            await self._hub.close_guest(guest)
