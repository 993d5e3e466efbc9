"""Runs the scripts of new leases in their guests, once each, and keeps what became of them.

    state      step                                                then
    PENDING    wait for the hand-over, and for the network          STARTING, under a fresh id
    STARTING   ask the guest; if it was not begun, ask it to        RUNNING, or as RUNNING
    RUNNING    look again, the longer it runs the later             EXITED, FAILED, UNKNOWN

A row is worked on under its fence, like an order's, and is written before the guest is asked. The
guest's own mark decides whether a script was begun (`hub.start_scripts`), so a process may die at
any line: the next one asks. What was seen to run is never run again, even if the mark is gone.

Scripts may run for as long as their leases, so the pauses grow. The hand-over makes a row due at
once, and a row is looked at soon after its tenant asks.
"""

import contextlib
import random
from datetime import datetime
from typing import Any, Final, Protocol

import structlog

from pve402.domain import lease, networks, user_data
from pve402.guests import guest_work
from pve402.hub import errors as hub_errors
from pve402.hub.start_scripts import Seen, Standing
from pve402.leases import workflow
from pve402.proxmox.guests import GuestRef
from pve402.storage import database, lease_rows, queue, user_data_rows, vault

log = structlog.get_logger(__name__)

State = user_data.State

LOST: Final = "interrupted"
NO_ROOM: Final = "no_room"
_SOON_SECONDS: Final = 1.0
_SELDOM_SECONDS: Final = 15 * 60.0  # longer than sessions stay open, so that most are closed
_LEAST_LOOK_SECONDS: Final = 0.5
_MOST_LOOKS: Final = 8  # at a command that does not begin: a process died while it asked
_LOOKS_AT: Final = 0.1  # of the time that it has run or waited
_MOST_MOVED_SECONDS: Final = 3.0
_ENDS: Final = {Standing.LOST: (State.UNKNOWN, LOST), Standing.NO_ROOM: (State.FAILED, NO_ROOM)}


class Scripts(Protocol):
    """What is done in guests; see `hub.start_scripts.StartScripts`."""

    async def begin(self, guest: GuestRef, run: str, exec_id: str, script: bytes) -> None: ...

    async def look(self, guest: GuestRef, run: str, exec_id: str) -> Seen: ...

    async def output(self, guest: GuestRef, exec_id: str, most_bytes: int) -> bytes: ...

    async def remove(self, guest: GuestRef, exec_id: str) -> None: ...


class _Wait(Exception):
    """Nothing can be done with a row now, or for at least some seconds."""

    def __init__(self, row: user_data.UserData, least_seconds: float) -> None:
        super().__init__(least_seconds)
        self.row = row
        self.least_seconds = least_seconds

    def pause_seconds(self, now: datetime) -> float:
        """Return when to look again: the longer it has run, or waited to run, the later."""
        lasted = now - (self.row.started_at or self.row.created_at)
        return min(_SELDOM_SECONDS, max(self.least_seconds, lasted.total_seconds() * _LOOKS_AT))


class UserDataRuns:
    """Takes due rows as far as they go."""

    def __init__(self, db: database.Database, secret_vault: vault.Vault, scripts: Scripts) -> None:
        self._db = db
        self._vault = secret_vault
        self._scripts = scripts
        self.steps = {
            State.PENDING: workflow.Step(name="await", do=self._await_turn),
            State.STARTING: workflow.Step(name="start", do=self._start),
            State.RUNNING: workflow.Step(name="look", do=self._look),
        }

    async def run(self, due: queue.Row) -> None:
        """Work on a due row. Raises RetryLater if it must run again, FenceLostError."""
        row = user_data.UserData.from_row(due)
        try:
            await workflow.run(self.steps, row, lambda row: row.state)
        except _Wait as wait:
            pause = wait.pause_seconds(await self._db.time())
            async with self._db.single() as tx:
                await user_data_rows.wait(self._db, tx, row, pause)
        except hub_errors.Moved as moved:  # the holder finds the row, perhaps at its next look
            pause = random.uniform(1.0, _MOST_MOVED_SECONDS)  # noqa: S311 -- no secret
            raise workflow.RetryLater("another replica holds it", after_seconds=pause) from moved
        except hub_errors.HubError as error:
            raise workflow.RetryLater(workflow.reason_of(error)) from error

    async def _await_turn(self, row: user_data.UserData) -> user_data.UserData:
        """Wait for the hand-over and the network, then write the id that the guest will be asked
        under.
        """
        found = await self._usable(row)
        if row.needs_network and found.link is networks.Link.PENDING:
            raise _Wait(row, _SOON_SECONDS)
        return await self._write(row, state=State.STARTING, exec_id=user_data_rows.new_exec_id())

    async def _start(self, row: user_data.UserData) -> user_data.UserData | None:
        """Ask the guest to begin, unless it did when it was asked before."""
        found = await self._usable(row)
        guest, run = guest_work.ref(found), found.lease_id
        seen = await self._scripts.look(guest, run, row.exec_id or "")
        is_stuck = seen.standing is Standing.BEGINNING and row.attempts > _MOST_LOOKS
        if seen.standing is Standing.NOT_BEGUN or is_stuck:
            script = self._script(row)
            if script is None:
                await self._end(row, State.FAILED, reason=user_data.UNREADABLE)
                return None
            row = await self._write(row, exec_id=user_data_rows.new_exec_id(), attempts=0)
            await self._scripts.begin(guest, run, row.exec_id or "", script)
            seen = await self._scripts.look(guest, run, row.exec_id or "")
        if seen.standing in {Standing.NOT_BEGUN, Standing.BEGINNING}:
            raise workflow.RetryLater("it has not begun yet", after_seconds=_LEAST_LOOK_SECONDS)
        if seen.standing is Standing.RUNNING:
            began = {"started_at": self._db.now(), "exec_id": seen.exec_id}
            return await self._write(row, state=State.RUNNING, **began)
        await self._note_end(row, guest, seen)
        return None

    async def _look(self, row: user_data.UserData) -> None:
        """See whether the script still runs."""
        guest_of = await self._usable(row)
        guest = guest_work.ref(guest_of)
        seen = await self._scripts.look(guest, guest_of.lease_id, row.exec_id or "")
        if seen.standing in {Standing.RUNNING, Standing.BEGINNING}:
            raise _Wait(row, _LEAST_LOOK_SECONDS)
        await self._note_end(row, guest, seen)

    async def _note_end(self, row: user_data.UserData, guest: GuestRef, seen: Seen) -> None:
        """Write what became of it; whatever else was begun and is not there was interrupted."""
        if seen.standing is not Standing.EXITED:
            state, reason = _ENDS.get(seen.standing, _ENDS[Standing.LOST])
            await self._end(row, state, reason=reason)
            return
        most = user_data.KEPT_OUTPUT_BYTES
        output = await self._scripts.output(guest, seen.exec_id, most)
        bound = user_data_rows.bound_to(row.order_id, "output")
        await self._end(
            row,
            State.EXITED,
            exec_id=seen.exec_id,
            exit_code=seen.exit_code,
            truncated=seen.truncated or len(output) >= most,
            sealed_output=self._vault.seal(output, bound),
        )
        with contextlib.suppress(hub_errors.HubError):  # it is only tidied up
            await self._scripts.remove(guest, seen.exec_id)

    async def _end(self, row: user_data.UserData, state: State, **values: Any) -> None:
        """Write the end, and erase the script, which is needed no more."""
        now = self._db.now()
        started = {} if row.started_at or state is State.FAILED else {"started_at": now}
        gone = {"sealed_script": None, "due_at": None, "fence": None}
        await self._write(row, state=state, ended_at=now, **started, **gone, **values)
        log.info("user_data_over", order=row.order_id, state=state.value)

    async def _usable(self, row: user_data.UserData) -> lease.Lease:
        """Return the lease whose guest may be entered; wait for it otherwise."""
        async with self._db.read() as tx:
            found = await lease_rows.get_of_order(tx, row.order_id)
            now = await self._db.time_in(tx)
        is_up = found is not None and found.suspension is None and found.is_to_run
        if found is not None and is_up and lease.is_usable(found.status, found.expires_at, now):
            return found
        raise _Wait(row, user_data_rows.SOON_SECONDS)

    def _script(self, row: user_data.UserData) -> bytes | None:
        bound = user_data_rows.bound_to(row.order_id, "script")
        try:
            return self._vault.unseal(row.sealed_script or b"", bound)
        except vault.SealBrokenError:
            log.exception("user_data_not_opened", order=row.order_id)
            return None

    async def _write(self, row: user_data.UserData, **values: Any) -> user_data.UserData:
        async with self._db.single() as tx:
            return await user_data_rows.write(tx, row, **values)
