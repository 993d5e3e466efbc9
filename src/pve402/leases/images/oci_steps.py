"""The workflow of an OCI image's file on a node: look, pull, try.

    state       step                                              then
    WANTED      look; if it is there                              TRYING
                else note that we ask, ask Proxmox VE for it      PULLING
    PULLING     wait for the task, stop it after hours; look      TRYING
    TRYING      try it (oci_trials.py)                            TRIED
    TRIED       nothing, until the file is another

A pull that fails goes back to WANTED and rests, longer each time. One whose task nobody knows is
waited for as long as one of ours runs on the node, and is asked for again when none can be there.
"""

from datetime import timedelta
from typing import Any, Final

import structlog

from pve402.domain import oci, oci_files
from pve402.leases import cluster, options, reservation, workflow
from pve402.leases.images import oci_trials
from pve402.proxmox import errors as pve
from pve402.proxmox import storage
from pve402.proxmox import tasks as pve_tasks
from pve402.storage import database, oci_rows, queue

log = structlog.get_logger(__name__)

State = oci_files.State
_KIND = "ociregistrypull"
LOOK_SECONDS = 20.0
"""How long a pull is waited for before its row gives its turn to others."""
_PAUSE_SECONDS = 3.0
_QUICK_TRIALS = 6
_SELDOM_SECONDS = 600.0
_TOLD_LENGTH = 500
RESTS_SECONDS: Final = (30.0, 120.0, 600.0, 3600.0)
"""How long a file rests after each pull in a row that came to nothing."""
_PROBLEMS: Final[tuple[tuple[type[pve.ProxmoxError], str], ...]] = (
    (pve.CallNotSupported, "proxmox_too_old"),
    (pve.PermissionDenied, "no_rights"),
    (pve.StorageMissing, "no_storage"),
    (pve.ImageMissing, "no_such_image"),
    (pve.ImageRefused, "registry_refuses"),
    (pve.RegistryUnreachable, "registry_unreachable"),
    (pve.StorageFull, "storage_full"),
    (pve.TaskTimeout, "pull_too_slow"),
)
_NOT_ASKED: Final = {"asked_at": None, "upid": None}
_RESTING: Final = {"fence": None, "attempts": 0}


class OciSteps:
    """Runs the steps of files; holds no state between steps."""

    def __init__(
        self,
        db: database.Database,
        storages: storage.Storages,
        tasks: pve_tasks.Tasks,
        trying: oci_trials.OciTrials,
        *,
        view: cluster.ClusterView,
        settings: options.LeaseOptions,
    ) -> None:
        self._db = db
        self._storages = storages
        self._tasks = tasks
        self._trials = trying
        self._view = view
        self._settings = settings
        self.steps = {
            State.WANTED: workflow.Step(name="look and pull", do=self._look),
            State.PULLING: workflow.Step(name="await pull", do=self._await),
            State.TRYING: workflow.Step(name="try", do=self._try),
        }

    async def run(self, found: queue.Row) -> None:
        """Take a file as far as it goes. Raises RetryLater, FenceLostError, ProxmoxErrors."""
        row = oci_files.OciFile.from_row(found)
        await workflow.run(self.steps, row, lambda row: row.state)

    async def _look(self, row: oci_files.OciFile) -> oci_files.OciFile | None:
        """Go on with a file that is there; else have it pulled."""
        try:
            found = await self._find(row)
            if found is not None:
                return await self._go_on(row, found)
            shared = (await self._storages.status(row.node, row.storage)).shared
        except (pve.StorageMissing, pve.PermissionDenied) as error:
            await self._fail(row, error)
            return None
        asked = await self._note_asked(row, is_shared=shared)
        try:
            reference = oci.Reference.parse(row.reference)
            upid = await self._storages.pull(row.node, row.storage, reference)
        except pve.OutcomeUnknown:
            raise
        except (pve.FileExists, pve.Unreachable):
            await self._write(asked, state=State.WANTED, **_NOT_ASKED)
            raise
        except pve.ProxmoxError as error:
            await self._fail(asked, error)
            return None
        return await self._write(asked, upid=upid.text, attempts=0)

    async def _note_asked(self, row: oci_files.OciFile, *, is_shared: bool) -> oci_files.OciFile:
        """Note that we are about to ask. Raises RetryLater while another node pulls the same file.

        Replicas and nodes take turns by the placement lock.
        """
        async with self._db.begin() as tx:
            await reservation.lock_placement(self._db, tx)
            if is_shared and await oci_rows.is_pulled_elsewhere(self._db, tx, row):
                raise workflow.RetryLater("another node pulls it", after_seconds=_PAUSE_SECONDS)
            now = self._db.now()
            return await oci_rows.write(tx, row, state=State.PULLING, asked_at=now, upid=None)

    async def _await(self, row: oci_files.OciFile) -> oci_files.OciFile | None:
        """Wait a while for the pull; what is there in the end tells."""
        problem: pve.ProxmoxError
        try:
            if row.upid is None:
                await self._await_unknown(row)
                problem = pve.OutcomeUnknown("a pull was asked for, and nobody saw its task")
            else:
                await self._wait(pve_tasks.Upid.parse(row.upid))
                problem = pve.VolumeMissing("the task succeeded, but there is no file")
        except pve.TaskTimeout as error:
            await self._stop_overdue(row, error)
            problem = error
        except pve.TaskMissing as error:
            problem = error
        except pve.TaskFailed as error:
            problem = error.cause
        found = await self._find(row)
        if found is not None:
            return await self._go_on(row, found)
        await self._fail(row, problem)
        return None

    async def _stop_overdue(self, row: oci_files.OciFile, error: pve.TaskTimeout) -> None:
        """Stop a pull that takes too long, and wait for its end. Raises RetryLater until then."""
        began = row.asked_at or row.created_at
        if await self._db.time() < began + oci_files.LONGEST_PULL:
            raise workflow.RetryLater("it is being pulled", after_seconds=_PAUSE_SECONDS) from error
        upid = pve_tasks.Upid.parse(error.upid)
        await self._tasks.stop(upid)
        try:
            await self._wait(upid)
        except pve.TaskTimeout:
            raise workflow.RetryLater("it does not stop", after_seconds=_SELDOM_SECONDS) from error
        except (pve.TaskFailed, pve.TaskMissing):
            return

    async def _wait(self, upid: pve_tasks.Upid) -> None:
        await self._tasks.wait_until_finished(upid, limit_seconds=LOOK_SECONDS)

    async def _await_unknown(self, row: oci_files.OciFile) -> None:
        """Raise RetryLater while a pull whose task we do not know may be there."""
        asked, now = row.asked_at or row.created_at, await self._db.time()
        is_overdue = now >= asked + oci_files.LONGEST_PULL
        if not is_overdue and await self._tasks.list_active_of(row.node, _KIND):
            raise workflow.RetryLater("its node is pulling", after_seconds=_PAUSE_SECONDS)
        shows = asked + timedelta(seconds=self._settings.task_shows_seconds)
        if now < shows:
            raise workflow.retry_at(shows, now, "a pull's outcome is not known")

    async def _go_on(
        self, row: oci_files.OciFile, found: storage.Template
    ) -> oci_files.OciFile | None:
        """Have a file tried, unless this very file was."""
        self._view.note_file(row.node, found)
        there = {**_NOT_ASKED, "problem": None, "failures": 0, "attempts": 0, "last_error": None}
        if row.verdict is not None and row.seen == found.digest:
            rest = {**_RESTING, "due_at": None}
            return await self._write(row, state=State.TRIED, **{**there, **rest})
        unknown = {"seen": found.digest, "verdict": None, "tried_at": None}
        return await self._write(row, state=State.TRYING, **{**there, **unknown})

    async def _try(self, row: oci_files.OciFile) -> oci_files.OciFile | None:
        found = await self._find(row)
        if found is None or found.digest != row.seen:
            return await self._write(row, state=State.WANTED)
        verdict = await self._verdict_on(row)
        told = workflow.line(verdict.told)[:_TOLD_LENGTH]
        rest = {**_RESTING, "due_at": None, "last_error": told or None}
        done = await self._write(
            row, state=State.TRIED, verdict=verdict.word, tried_at=self._db.now(), **rest
        )
        facts = {"reference": row.reference, "node": row.node, "volume": row.volume}
        if done.is_sellable:
            log.info("oci_image_on_sale", **facts)
        else:
            log.error("oci_image_refused", **facts, cause=verdict.word, reason=told)
        return None

    async def _verdict_on(self, row: oci_files.OciFile) -> oci_trials.Verdict:
        """Try a file; one whose trials come to nothing is tried more seldom: each makes a guest."""
        try:
            return await self._trials.verdict_on(row)
        except (workflow.RetryLater, pve.ProxmoxError) as error:
            if row.attempts <= _QUICK_TRIALS:
                raise
            is_told = isinstance(error, workflow.RetryLater)
            reason = str(error) if is_told else workflow.reason_of(error)
            raise workflow.RetryLater(reason, after_seconds=_SELDOM_SECONDS) from error

    async def _fail(self, row: oci_files.OciFile, error: pve.ProxmoxError) -> None:
        """Let a pull that came to nothing rest; say why, in the log and in the row."""
        problem = next((word for kind, word in _PROBLEMS if isinstance(error, kind)), "pull_failed")
        if isinstance(error, pve.OutcomeUnknown | pve.TaskMissing):
            problem = "outcome_unknown"
        reason = workflow.reason_of(error)
        pause = RESTS_SECONDS[min(row.failures, len(RESTS_SECONDS) - 1)]
        facts = {"reference": row.reference, "node": row.node, "cause": problem}
        log.error("oci_image_not_pulled", **facts, reason=reason)
        rest = {**_RESTING, **_NOT_ASKED, "due_at": self._db.now(pause), "last_error": reason}
        await self._write(
            row, state=State.WANTED, problem=problem, failures=row.failures + 1, **rest
        )

    async def _find(self, row: oci_files.OciFile) -> storage.Template | None:
        shown = await self._storages.templates(row.node, row.storage)
        return next((one for one in shown if one.volid == row.volume), None)

    async def _write(self, row: oci_files.OciFile, **values: Any) -> oci_files.OciFile:
        async with self._db.single() as tx:
            return await oci_rows.write(tx, row, **values)
