"""Starts `pve402 serve` in children of its own: imports once, forks for every start.

A line of JSON on standard input starts one server, the answer is its process id; a line
`{"reap": pid}` waits for its end and answers the exit code (negative: the signal). The children
are what an operator runs, but for two things: crash points are hung in from outside, and the
clockwork is faster, so that a lease's life fits into seconds.
"""

import ctypes
import dataclasses
import functools
import gc
import json
import os
import signal
import sys
import time
import traceback
from datetime import timedelta
from pathlib import Path

from tests.chaos import crash_points, world_shells

from pve402 import bootstrap, config
from pve402.api import server
from pve402.domain import forks, idling, meter, private_images, reinstalls, size_changes
from pve402.leases import confirmation, options, reconciler, settling
from pve402.leases.images import image_keeper, oci_steps, trials
from pve402.storage import slots

MINUTE_SECONDS = 4.0
"""How long a paid minute lasts in the loop."""

IDLE_MINUTES = idling.LEAST_MINUTES
"""After how many idle minutes containers are paused that are to; they take two seconds."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclasses.dataclass(frozen=True, kw_only=True)
class Start:
    """What one server is started with."""

    settings: dict[str, str]
    log: str
    hits: str
    armed: tuple[str, ...] = ()
    armed_after_seconds: float = 0.0
    clock_ahead_seconds: float = 0.0
    hand_url: str = ""  # of the world
    minute_seconds: float = MINUTE_SECONDS


_QUICK: tuple[tuple[object, str, object], ...] = (
    (size_changes, "LEAST_MINUTES_LEFT", 0.05),  # of real ones
    (forks, "LEAST_LEFT", timedelta(seconds=3)),
    (reinstalls, "LEAST_LEFT", timedelta(seconds=3)),
    (reinstalls, "REST", timedelta(seconds=1)),
    (private_images, "LEAST_MINUTES", 1),
    (idling, "MINUTE", timedelta(seconds=2) / IDLE_MINUTES),
    (idling, "LEAST_LEFT", timedelta(seconds=2)),
    (idling, "MARGIN", timedelta(seconds=0.5)),
    (idling, "NOTED_EVERY", timedelta(seconds=0.5)),
    (image_keeper, "INTERVAL_SECONDS", 2.0),
    (oci_steps, "RESTS_SECONDS", (1.0,)),
    (trials, "HOLD_SECONDS", 2.0),
    (reconciler, "INTERVAL_SECONDS", 3.0),
    (settling, "UNPAID_SECONDS", 5.0),
    (settling, "LOOK_SECONDS", 2.0),
    (confirmation, "LOOK_AGAIN_SECONDS", 1.0),
    (slots, "HOLD_SECONDS", 1.5),
)


def main() -> None:
    """Serve the standard input until it ends."""
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        answer = _reap(order["reap"]) if "reap" in order else _fork(Start(**order))
        print(answer, flush=True)


def _reap(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _fork(start: Start) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nothing outlives the nursery
    try:
        code = _serve(start)
    except BaseException:  # noqa: BLE001 - nobody above would tell of it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve(start: Start) -> int:
    log = os.open(start.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(number, target)
    os.environ.update(start.settings)
    honest_build = bootstrap.build

    def build(settings: config.Settings) -> bootstrap.Components:
        parts = shells.parts = honest_build(settings)
        parts.db.shift_seconds = start.clock_ahead_seconds
        fuse = crash_points.Fuse(
            armed=frozenset(start.armed),
            armed_at=time.monotonic() + start.armed_after_seconds,
            hits=Path(start.hits),
        )
        crash_points.install(parts, fuse)
        return parts

    _hasten(start)
    shells = world_shells.Shells(start.hand_url)
    shells.install()
    bootstrap.build = build
    return server.serve(None)


def _hasten(start: Start) -> None:
    """Shorten every limit that the program waits out, and let minutes be seconds."""
    meter.MINUTE_MS = int(start.minute_seconds * 1000)
    for owner, name, limit in _QUICK:
        setattr(owner, name, limit)
    quick_worker = functools.partial(
        options.WorkerOptions, hold_seconds=3.0, retry_least_seconds=0.2, retry_most_seconds=3.0
    )
    quick_leases = functools.partial(
        options.LeaseOptions,
        late_create_seconds=10.0,
        task_shows_seconds=3.0,
        confirm_after_seconds=1.0,
        creation_limit_seconds=40.0,
        shutdown_limit_seconds=3,
    )
    options.WorkerOptions = quick_worker  # type: ignore[misc,assignment]
    options.LeaseOptions = quick_leases  # type: ignore[misc,assignment]


if __name__ == "__main__":
    main()
