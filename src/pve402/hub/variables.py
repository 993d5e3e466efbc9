"""The variables of a lease in its guest: a file beside the agent that its programs read first.

They may be secrets, and the node's administrators see the arguments of every process. So they go
through stdin into a file of root's that is gone with the session, never into a command.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from pve402.domain import variables
from pve402.hub import errors, guest_scripts
from pve402.hub.guest_state import GuestState
from pve402.hub.request import ExecRequest, ExecResult
from pve402.hub.session import Session
from pve402.proxmox.guests import GuestRef

Find = Callable[[GuestRef], Awaitable[Mapping[str, str]]]
Run = Callable[[GuestRef, ExecRequest], Awaitable[ExecResult]]

_MOST_REMEMBERED: Final = 10_000


async def none(_guest: GuestRef) -> Mapping[str, str]:
    """Find nothing."""
    return {}


class Variables:
    """Gives them to each session once, before its first program of the tenant's."""

    def __init__(self, find: Find, run: Run) -> None:
        self._find = find
        self._run = run
        self._without: dict[GuestRef, None] = {}  # they never change

    async def of(self, guest: GuestRef) -> Mapping[str, str]:
        """Return a guest's variables. Raises what `find` raises."""
        if guest in self._without:
            return {}
        found = await self._find(guest)
        if not found:
            while len(self._without) >= _MOST_REMEMBERED:
                del self._without[next(iter(self._without))]
            self._without[guest] = None
        return found

    async def given(self, state: GuestState, session: Session) -> str:
        """Return the path of a session's file, empty if its guest has no variables.

        Raises SessionLost, and as `Hub.exec`.
        """
        async with state.giving_variables:
            if session.variables is None:
                session.variables = await self._give(state.guest, session)
        return session.variables

    async def _give(self, guest: GuestRef, session: Session) -> str:
        found = await self.of(guest)
        if not found:
            return ""
        path = f"{session.workplace}/variables"
        request = guest_scripts.request("variables", path, stdin=variables.script(found))
        if (await self._run(guest, request)).exit_code:
            raise errors.SessionLost  # its workplace is gone, or full
        return path
