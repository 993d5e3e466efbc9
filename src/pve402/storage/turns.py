"""Turns at something that one task at a time may use, first come, first served."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable


class Turns:
    """Who has the turn passes it straight to the next, so that nobody comes in between.

    `given_up` is called with the turn held, for a task that was given its turn and cancelled before
    it could begin; it passes the turn on as the task would have.
    """

    def __init__(self, given_up: Callable[[], None]) -> None:
        self._given_up = given_up
        self._taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def try_take(self) -> bool:
        """Take the turn if nobody has it."""
        taken, self._taken = self._taken, True
        return not taken

    async def take(self) -> None:
        """Wait for the turn."""
        if self.try_take():
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await mine
        except BaseException:
            if mine.done() and not mine.cancelled():
                self._given_up()
            with contextlib.suppress(ValueError):  # passed over already
                self._waiting.remove(mine)
            raise

    def pass_on(self) -> bool:
        """Give the turn to the next who waits; False, and the turn is kept, if nobody does."""
        while self._waiting:
            following = self._waiting.popleft()
            if not following.done():
                following.set_result(None)
                return True
        return False

    def give_back(self) -> None:
        """Give the turn to the next who waits, or to whoever comes."""
        self._taken = self.pass_on()
