"""Shared parts of workflows: steps, how a step ends early, and the loop that runs them.

A workflow maps each state of a row to its next step. A step has one outside effect, may run twice
("already there" and "already gone" count as success), and writes its outcome in one transaction
that checks the fence. A process may die between any two lines: the row then falls due, and another
worker runs the step for the state it finds.
"""

import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Generic, TypeVar

import structlog

from pve402.domain import errors
from pve402.payments import errors as payment_errors
from pve402.proxmox import errors as pve

log = structlog.get_logger(__name__)

_LOG_LINES = 4
_REASON_LENGTH = 500
_TEXT_LENGTH = 200
_OFTEN_LOOKS = 10
SELDOM_SECONDS = 2.0
"""The pause between looks of a step that has waited for long for another of our workflows."""

RowT = TypeVar("RowT")
StateT = TypeVar("StateT", bound=Enum)


class RetryLater(Exception):
    """The step did not finish; the row falls due again after a pause."""

    def __init__(
        self,
        reason: str,
        *,
        after_seconds: float | None = None,
        at_most_seconds: float = float("inf"),
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.after_seconds = after_seconds  # None: depends on the number of attempts
        self.at_most_seconds = at_most_seconds  # if it depends on them

    def pause(self, by_attempts: Sequence[float]) -> float | Sequence[float]:
        """Return the pause, or the pauses by number of attempts."""
        if self.after_seconds is not None:
            return self.after_seconds
        return [min(pause, self.at_most_seconds) for pause in by_attempts]


def retry_at(when: datetime, now: datetime, reason: str) -> RetryLater:
    """Return what ends a step that can go on at a known time."""
    return RetryLater(reason, after_seconds=max((when - now).total_seconds(), 0.05))


def look_again(reason: str, looks: int, after_seconds: float) -> RetryLater:
    """Return what ends a step that waits for another of our workflows: seldom after some looks."""
    return RetryLater(
        reason, after_seconds=after_seconds if looks < _OFTEN_LOOKS else SELDOM_SECONDS
    )


class GiveUp(Exception):
    """The step can never succeed; the workflow unwinds. `refusal` is a stable code."""

    def __init__(self, refusal: str, reason: str) -> None:
        super().__init__(reason)
        self.refusal = refusal
        self.reason = reason


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step(Generic[RowT]):
    """One step of a workflow; a single unwinding undoes all steps."""

    name: str
    do: Callable[[RowT], Awaitable[RowT | None]]  # the new row, None at the end


async def run(
    steps: Mapping[StateT, Step[RowT]], row: RowT, state: Callable[[RowT], StateT]
) -> None:
    """Run a row's steps until its state has none left or a step ends early."""
    current: RowT | None = row
    while current is not None:
        step = steps.get(state(current))
        if step is None:
            return
        log.debug("step", step=step.name)
        current = await step.do(current)


def line(text: str) -> str:
    """Return a foreign text as one line that databases and terminals take."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def reason_of(error: BaseException) -> str:
    """Return a description of a failure that is safe to store and show; never a secret."""
    text = line(str(error))
    said = f"{type(error).__name__}: {text}"
    if isinstance(error.__cause__, pve.TaskFailed) and error.__cause__.log_tail:
        told = " / ".join(line(one) for one in error.__cause__.log_tail[-_LOG_LINES:])
        said = f"{said[:_TEXT_LENGTH]} | task log: "
        said += told[max(0, len(told) - _REASON_LENGTH + len(said)) :]  # its end says most
    return said[:_REASON_LENGTH]


TRANSIENT = (
    pve.Unreachable,
    pve.OutcomeUnknown,
    pve.GuestLocked,
    pve.ConfigChanged,
    pve.NoQuorum,
    pve.TaskTimeout,
    payment_errors.FacilitatorUnavailable,
    payment_errors.ChainUnavailable,
    errors.DatabaseUnavailable,
)
"""Failures that are not the request's fault: the step is retried."""
UNFINISHED = (RetryLater, pve.ProxmoxError, *TRANSIENT)
"""How a run ends whose order is tried again."""
