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
        self._have: dict[GuestRef, bool] = {}  # which never changes; the values are not kept

    async def has(self, guest: GuestRef) -> bool:
        """Return whether a guest has variables; asked once a guest. Raises what `find` raises."""
        known = self._have.get(guest)
        return bool(await self._of(guest)) if known is None else known

    async def _of(self, guest: GuestRef) -> Mapping[str, str]:
        """Return a guest's variables."""
        if self._have.get(guest) is False:
            return {}
        found = await self._find(guest)
        while len(self._have) >= _MOST_REMEMBERED:
            del self._have[next(iter(self._have))]
        self._have[guest] = bool(found)
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
        found = await self._of(guest)
        if not found:
            return ""
        path = f"{session.workplace}/variables"
        request = guest_scripts.request("variables", path, stdin=variables.script(found))
        if (await self._run(guest, request)).exit_code:
            raise errors.SessionLost  # its workplace is gone, or full
        return path
