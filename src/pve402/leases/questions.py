"""Limits the questions to chains and facilitators that unproven callers make us ask.

Anybody can send payments and sign-ins that only a chain or a facilitator can judge, as many as they
like and for nothing. So each client address has a few questions at a time, and the next ones wait
for their turn: an address full of garbage delays its own callers and nobody else. A question whose
caller is refused keeps its turn for a moment longer, so garbage also comes slowly.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from pve402.domain import errors

AT_ONCE = 8
"""Callers of one address whose questions are asked at the same time."""
MOST_CALLERS = 128
"""Callers of one address that ask or wait; more are refused."""
REFUSED_PAUSE_SECONDS = 0.05
"""How long a turn lasts after a refusal."""


class TooManyQuestions(errors.TooMany):
    """One address has too many payments and sign-ins that are being checked."""

    detail = "Too many payments or sign-ins of this address are being checked; let some end first."
    code = "too_many_requests"
    retry_after_seconds = 5


class _Party:
    """The callers of one address."""

    def __init__(self) -> None:
        self.callers = 0
        self.turns = asyncio.Semaphore(AT_ONCE)


class Questions:
    """Gives each address its turns."""

    def __init__(self) -> None:
        self._parties: dict[str, _Party] = {}

    @contextlib.asynccontextmanager
    async def turn(self, address: str | None) -> AsyncIterator[None]:
        """Wait for a turn, and keep it for the block. Raises TooManyQuestions.

        Callers without an address, on a unix socket, share one party.
        """
        party = self._enter(address or "")
        try:
            await party.turns.acquire()
        except BaseException:
            self._leave(address or "")
            raise
        try:
            yield
        except BaseException:
            loop = asyncio.get_running_loop()
            loop.call_later(REFUSED_PAUSE_SECONDS, self._end_turn, address or "")
            raise
        self._end_turn(address or "")

    def _enter(self, key: str) -> _Party:
        party = self._parties.setdefault(key, _Party())
        if party.callers >= MOST_CALLERS:
            raise TooManyQuestions
        party.callers += 1
        return party

    def _end_turn(self, key: str) -> None:
        self._parties[key].turns.release()
        self._leave(key)

    def _leave(self, key: str) -> None:
        self._parties[key].callers -= 1
        if not self._parties[key].callers:
            del self._parties[key]
