"""Trying again while a guest is locked: patiently, seldom, and not for ever.

Every call that waits for a lock holds one of the three workers of pvedaemon for 10 s, so
a tight loop would make the whole node slow for everybody.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import structlog

from pve402.proxmox import errors

_log = structlog.get_logger(__name__)
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class LockPatience:
    """When to try again: pauses double from the first to the ceiling, until the limit.

    Each pause is shortened by a random part of up to `jitter`, so that several waiters do
    not come back together.
    """

    first_seconds: float = 2.0
    ceiling_seconds: float = 15.0
    limit_seconds: float = 90.0
    jitter: float = 0.5

    def pauses(self, draw: Callable[[], float]) -> Iterator[float]:
        """Seconds between attempts, without end; `draw` gives numbers from 0 to 1."""
        pause = self.first_seconds
        while True:
            yield pause * (1 - self.jitter * draw())
            pause = min(pause * 2, self.ceiling_seconds)


class LockRetry:
    """Repeats an action for as long as a lock is all that stands in its way."""

    def __init__(
        self,
        patience: LockPatience | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._patience = patience or LockPatience()
        self._clock = clock
        self._sleep = sleep
        self._draw = draw

    async def until_unlocked(self, action: Callable[[], Awaitable[_Result]]) -> _Result:
        """The result of `action`, which may start a task and wait for it, too.

        Only a refusal for a lock is tried again, because it is known not to have been
        executed. Raises the last GuestLocked or TaskFailed when patience ends, and every
        other error at once.
        """
        deadline = self._clock() + self._patience.limit_seconds
        pauses = self._patience.pauses(self._draw)
        while True:
            try:
                return await action()
            except (errors.GuestLocked, errors.TaskFailed) as error:
                lock, pause = locked_by(error), next(pauses)
                if lock is None or self._clock() + pause > deadline:
                    raise
                _log.info("proxmox.locked", lock=lock.lock, again_in_seconds=round(pause, 1))
            await self._sleep(pause)


def locked_by(error: errors.ProxmoxError) -> errors.GuestLocked | None:
    """The lock that caused `error`, of a call or of a task; None where it was none."""
    cause = error.cause if isinstance(error, errors.TaskFailed) else error
    return cause if isinstance(cause, errors.GuestLocked) else None
