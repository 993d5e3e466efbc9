"""Scripts that run once in a new guest, as detached commands behind a mark that outlives a restart.

The guest decides whether a script was begun: whoever makes the mark there runs it, and nobody else
ever does. So asking twice is harmless, and what became of it can be asked at any time.
"""

import dataclasses
import re
from enum import Enum
from typing import Final

from pve402.hub import errors, guest_scripts
from pve402.hub.detached import Detached, DetachedPrograms, DetachedState
from pve402.hub.hub import Hub
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef

_ID: Final = re.compile(r"e[0-9a-f]{24}")
_NO_MARK: Final = "-"
_NO_ROOM: Final = 123


class Standing(Enum):
    """What the guest tells about a script."""

    NOT_BEGUN = "not begun"  # no mark, and nobody about to make one: it may be asked for
    BEGINNING = "beginning"  # the command is there, without a mark yet
    RUNNING = "running"
    EXITED = "exited"
    NO_ROOM = "no room"  # the mark cannot be made, so nothing was run
    LOST = "lost"  # begun, but its end was not seen: a restart, or somebody removed it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """A script's standing, and the command that runs it."""

    standing: Standing
    exec_id: str
    exit_code: int | None = None
    truncated: bool = False


class StartScripts:
    """Begins such scripts and looks at them. Everything raises what `Hub.exec` raises."""

    def __init__(self, hub: Hub, detached: DetachedPrograms) -> None:
        self._hub = hub
        self._detached = detached

    async def begin(self, guest: GuestRef, run: str, exec_id: str, script: bytes) -> None:
        """Ask the guest to run a script under the name of a run, unless it ever began to.

        Raises TooManyCommands if too many detached commands are there.
        """
        source = guest_scripts.source("userdata")
        request = ExecRequest(argv=("sh", "-c", source, "sh", run, exec_id), stdin=script)
        await self._detached.start(guest, request, exec_id=exec_id)

    async def look(self, guest: GuestRef, run: str, exec_id: str) -> Seen:
        """Ask the guest how a script stands that we asked for as `exec_id`."""
        before = await self._found(guest, exec_id)
        mark = await self._mark(guest, run)  # after it, so that no new mark is missed
        if mark == _NO_MARK:
            return _unmarked(before, exec_id)
        if mark == exec_id and before is not None:
            return _marked(before, exec_id)
        if not _ID.fullmatch(mark):
            return Seen(standing=Standing.LOST, exec_id=exec_id)
        return _marked(await self._found(guest, mark), mark)

    async def output(self, guest: GuestRef, exec_id: str, most_bytes: int) -> bytes:
        """Return the end of a script's output."""
        spool = f"{await self._detached.directory(guest)}/{exec_id}"
        wish = guest_scripts.request(
            "userdata_look", "", spool, str(most_bytes), output_limit_bytes=most_bytes
        )
        return (await self._hub.exec(guest, wish)).stdout[-most_bytes:]

    async def remove(self, guest: GuestRef, exec_id: str) -> None:
        """Forget a script's command, so that it counts no more. Raises ExecNotFound."""
        await self._detached.delete(guest, exec_id)

    async def _found(self, guest: GuestRef, exec_id: str) -> Detached | None:
        try:
            return await self._detached.get(guest, exec_id)
        except errors.ExecNotFound:
            return None

    async def _mark(self, guest: GuestRef, run: str) -> str:
        wish = guest_scripts.request("userdata_look", run, output_limit_bytes=256)
        done = await self._hub.exec(guest, wish)
        if done.exit_code:
            raise errors.SessionFailed("the guest could not tell about its script")
        return done.stdout.decode("ascii", "replace").strip()


def _unmarked(found: Detached | None, exec_id: str) -> Seen:
    if found is None or found.state is DetachedState.LOST:
        return Seen(standing=Standing.NOT_BEGUN, exec_id=exec_id)
    if found.state is DetachedState.RUNNING:
        return Seen(standing=Standing.BEGINNING, exec_id=exec_id)
    if found.exit_code == _NO_ROOM:
        return Seen(standing=Standing.NO_ROOM, exec_id=exec_id)
    return _marked(found, exec_id)  # somebody removed the mark


def _marked(found: Detached | None, exec_id: str) -> Seen:
    if found is None or found.state is DetachedState.LOST:
        return Seen(standing=Standing.LOST, exec_id=exec_id)
    if found.state is DetachedState.RUNNING:
        return Seen(standing=Standing.RUNNING, exec_id=exec_id)
    return Seen(
        standing=Standing.EXITED,
        exec_id=exec_id,
        exit_code=found.exit_code,
        truncated=found.truncated,
    )
