"""Where a server can be killed: before and after every call that leaves a step of a workflow.

The seams are the methods through which workflows reach Proxmox, the facilitator, the chain and the
database. Each is wrapped from outside, on the objects of one installation, so that the program
itself knows nothing of it. A point is named `step/seam/when`, as in `create/guests.create/after`.
"""

import contextvars
import dataclasses
import functools
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from pve402 import bootstrap
from pve402.leases import moves

_step: contextvars.ContextVar[str] = contextvars.ContextVar("step", default="request")

_WHOLE = "whole"
"""The step itself: after it, its last transaction is committed."""

SEAMS: Mapping[str, tuple[str, ...]] = {
    "request": (
        "facilitator.verify",
        "admissions.take_creation",
        "admissions.take_renewal",
        "redemptions.take",
        "service.end",
        "moves.ask_pause",
        "moves.wake_paused",
        "moves.begin_size_change",
        "moves.begin_reinstall",
        "moves.pause_idle",
        "forks.take",
        "savings.take",
    ),
    "create": (
        "guests.next_vmid",
        "deals.advance",
        "guests.create",
        "guests.clone",
        "guests.update_config",
    ),
    "await": ("tasks.wait_until_finished", "deals.advance"),
    "start": ("guests.start", "tasks.wait_until_finished", "deals.advance"),
    "settle": ("facilitator.settle", "settler.look", "deals.note_paid", "deals.activate"),
    "copy": ("guests.clone", "guests.update_config", "deals.advance"),
    "make template": ("guests.make_template", "deals.advance"),
    "refuse": ("deals.refuse",),
    "wake": ("guests.status", "guests.start", "tasks.wait_until_finished", "deals.advance"),
    "settle renewal": (
        "facilitator.settle",
        "settler.look",
        "deals.remember",
        "deals.extend",
    ),
    "confirm": ("guests.update_config", "settler.recheck", "deals.finish"),
    "fee": ("facilitator.settle", "deals.settle_fee"),
    "watch": ("settler.watch", _WHOLE),
    "expire": ("moves.begin_pause", "moves.begin_stopping", _WHOLE),
    "stop": (
        "guests.status",
        "guests.shutdown",
        "tasks.wait_until_finished",
        "moves.keep_stopped",
        _WHOLE,
    ),
    "end grace": ("moves.begin_deleting", _WHOLE),
    "delete": ("guests.delete", "tasks.wait_until_finished", "lifetime.finish"),
    "snapshot": (
        "snapshots.take",
        "snapshots.delete",
        "snapshots.roll_back",
        "snapshot_calls.note",
        "guests.update_config",
        "tasks.wait_until_finished",
        "moves.end_rollback",
    ),
    "change size": (
        "guests.update_config",
        "guests.resize_disk",
        "tasks.wait_until_finished",
        "moves.end_size_change",
        "moves.undo_size_change",
    ),
    "reinstall": (
        "moves.give_guest_up",
        "guests.delete",
        "guests.create",
        "reinstall_calls.note",
        "tasks.wait_until_finished",
        "moves.end_reinstall",
    ),
    "end fork": ("moves.look_at_snapshots", _WHOLE),
    "try file": ("guests.create", "guests.start", "guests.delete"),
    "unwind": ("guests.status", "guests.delete", "lifetime.finish"),
}
"""The seams of each step; `settle` and `settle renewal` are the steps of that name."""

POINTS = tuple(
    f"{step}/{seam}/{when}"
    for step, seams in SEAMS.items()
    for seam in seams
    for when in ("before", "after")
)


@dataclasses.dataclass(kw_only=True)
class Fuse:
    """Kills this process at the first armed point it comes to, and writes down which it was."""

    armed: frozenset[str]
    armed_at: float  # of time.monotonic()
    hits: Path

    def pass_point(self, seam: str, when: str) -> None:
        """Come to a point."""
        name = f"{_step.get()}/{seam}/{when}"
        if name in self.armed and time.monotonic() >= self.armed_at:
            with self.hits.open("a") as file:
                file.write(f"{name}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def wrap(self, owner: Any, method: str, seam: str) -> None:
        """Put a point before and one after every call of a method of one object."""
        honest: Callable[..., Awaitable[Any]] = getattr(owner, method)

        @functools.wraps(honest)
        async def passing(*arguments: Any, **named: Any) -> Any:
            self.pass_point(seam, "before")
            try:
                return await honest(*arguments, **named)
            finally:
                self.pass_point(seam, "after")

        setattr(owner, method, passing)


def install(parts: bootstrap.Components, fuse: Fuse) -> None:
    """Wrap every seam and name every step of an installation that has not been opened yet."""
    flows = parts.lease_worker._workflows
    owners: dict[str, tuple[Any, str]] = {
        "guests": (parts.machines._guests, ""),
        "tasks": (parts.machines._tasks, ""),
        "settler": (parts.settler, ""),
        "deals": (flows.creation._deals, ""),
        "lifetime": (flows.lifetime, "_"),
        "snapshots": (flows.lifetime._snapshots._calls.on_proxmox, ""),
        "snapshot_calls": (flows.lifetime._snapshots._calls, ""),
        "reinstall_calls": (flows.lifetime._reinstalls._calls, ""),
        "moves": (moves, ""),
        "admissions": (parts.leases._parts.admissions, ""),
        "service": (parts.leases, ""),
        "redemptions": (parts.redeeming._redemptions, ""),
        "forks": (parts.forks._accepting, ""),
        "savings": (parts.private_images._orders, ""),
    }
    route = next(iter(parts.settler._routes.values()))
    owners |= {"facilitator": (route.facilitator, "")}
    for seam in sorted({seam for seams in SEAMS.values() for seam in seams} - {_WHOLE}):
        owner, method = seam.split(".")
        fuse.wrap(owners[owner][0], owners[owner][1] + method, seam)
    flows.creation.steps = _named(fuse, flows.creation.steps)
    flows.creation.saving_steps = _named(fuse, flows.creation.saving_steps)
    flows.renewal.steps = _named(fuse, flows.renewal.steps, {"settle": "settle renewal"})
    flows.lifetime.steps = _named(fuse, flows.lifetime.steps)
    _name(fuse, flows.creation, "_refuse", "refuse")
    _name(fuse, flows.confirmation, "run", "confirm")
    _name(fuse, flows.lifetime._snapshots, "advance", "snapshot")
    _name(fuse, flows.lifetime._size_changes, "advance", "change size")
    _name(fuse, flows.lifetime._reinstalls, "advance", "reinstall")
    _name(fuse, flows.fork_ends, "sweep", "end fork")
    for step, part in (("watch", "late"), ("try file", "oci_file")):
        object.__setattr__(flows, part, _in_step(fuse, step, getattr(flows, part)))
    _name(fuse, parts.leases._parts.fees, "settle", "fee")


def _named(
    fuse: Fuse, steps: Mapping[Any, Any], other_names: Mapping[str, str] | None = None
) -> Any:
    return {
        state: dataclasses.replace(
            step, do=_in_step(fuse, (other_names or {}).get(step.name, step.name), step.do)
        )
        for state, step in steps.items()
    }


def _name(fuse: Fuse, owner: Any, method: str, step: str) -> None:
    setattr(owner, method, _in_step(fuse, step, getattr(owner, method)))


def _in_step(
    fuse: Fuse, name: str, do: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(do)
    async def doing(*arguments: Any) -> Any:
        token = _step.set(name)
        try:
            fuse.pass_point(_WHOLE, "before")
            result = await do(*arguments)
            fuse.pass_point(_WHOLE, "after")
            return result
        finally:
            _step.reset(token)

    return doing
