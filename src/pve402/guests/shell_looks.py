"""Asks a guest's shell what it runs on and whose it is, by little more than the shell."""

import asyncio
from typing import Final

from pve402.domain import lease
from pve402.guests import guest_work
from pve402.hub import hub
from pve402.hub.request import ExecRequest
from pve402.leases import oci_trials

_LIMIT_SECONDS = 20.0
_MOST_CHARACTERS: Final = 32
_ASK = r"""
machine=$(uname -m 2>/dev/null) || machine=
user=
while read -r name value rest; do
  case $name in Uid:) user=$value ;; esac
done </proc/self/status
printf '%s,%s' "$machine" "$user"
"""


class ShellLooks:
    """Asks through a session of its own."""

    def __init__(self, terminal: hub.Hub) -> None:
        self._hub = terminal

    async def ask(self, row: lease.Lease) -> oci_trials.Shell:
        """Ask once, and close the session. Raises Pve402Error, TimeoutError."""
        guest = guest_work.ref(row)
        wish = ExecRequest(command=_ASK, timeout_seconds=_LIMIT_SECONDS, has_variables=False)
        try:
            async with asyncio.timeout(2 * _LIMIT_SECONDS):
                ended = await self._hub.exec(guest, wish)
        finally:
            await self._hub.close_guest(guest)
        machine, _, user = ended.stdout.decode("ascii", "replace").partition(",")
        return oci_trials.Shell(
            machine=machine.strip()[:_MOST_CHARACTERS], user=user.strip()[:_MOST_CHARACTERS]
        )
