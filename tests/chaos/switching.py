"""Tenants who stop, start, reboot, pause and wake their guests while servers die."""

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from tests.chaos import running

from pve402.domain import power

_TRIES = 12
_WANTED = {
    "stop": power.Wanted.STOPPED,
    "pause": power.Wanted.STOPPED,
    "start": power.Wanted.RUNNING,
    "reboot": power.Wanted.RUNNING,
}
_SAID_OF_STOPPED = {power.Wanted.STOPPED.value, "paused"}
_SEQUENCES = (
    *(("stop",), ("stop", "start"), ("reboot",), ("stop", "reboot"), ("stop", "stop")),
    *(("pause",), ("pause", "start"), ("pause", "pause"), ("pause", "start", "pause", "start")),
    *(("stop", "pause", "start"), ("pause", "stop"), ("pause", "reboot")),
)


class Answer(Protocol):
    """What a service said."""

    @property
    def status(self) -> int: ...

    @property
    def body(self) -> Any: ...


@dataclasses.dataclass(kw_only=True)
class Switch:
    """One lease's switch, in its tenant's hand."""

    post: Callable[[str], Awaitable[Answer | None]]
    dice: random.Random
    lease_id: str
    wishes: list[running.Wish]
    violations: list[str]

    def choose(self) -> tuple[str, ...]:
        """What the tenant will do, one after another."""
        return self.dice.choice(_SEQUENCES)

    async def press(self, what: str) -> None:
        """Ask until there is an answer that says how it came out."""
        asked_at = datetime.now(UTC)
        may_have_worked = False
        for _ in range(_TRIES):
            told = await self.post(f"/lease/{self.lease_id}/{what}")
            if told is not None and told.status == 200:
                self._note(what, asked_at, answered=True)
                said_stopped = told.body["wanted"] in _SAID_OF_STOPPED
                if said_stopped is not (_WANTED[what] is power.Wanted.STOPPED):
                    self.violations.append(f"{what} was answered {told.body['wanted']}")
                return
            may_have_worked |= told is None or told.status >= 500
            if told is not None and told.status in {401, 404}:
                break
            await asyncio.sleep(self.dice.uniform(0.1, 0.5))
        if may_have_worked:
            self._note(what, asked_at, answered=False)

    def _note(self, what: str, asked_at: datetime, *, answered: bool) -> None:
        answered_at = datetime.now(UTC) if answered else None
        self.wishes.append(
            running.Wish(
                lease_id=self.lease_id,
                wanted=_WANTED[what],
                asked_at=asked_at,
                answered_at=answered_at,
            )
        )
