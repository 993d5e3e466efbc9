"""The packet that carries nothing, sent at the one moment when it helps.

Small packets stall for 40 ms between pveproxy and termproxy until something goes the other
way. So 1 ms after the last received bytes an empty packet follows, unless something real is
sent before. Where nothing more is owed to us it must not be sent: it would itself stall what
is sent next.
"""

import asyncio
from collections.abc import Callable

_SECONDS = 0.001


class Nudge:
    """Calls `send` 1 ms after the last `received`, unless `sent` comes first."""

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send
        self._timer: asyncio.TimerHandle | None = None

    def received(self, *, owed: bool) -> None:
        """Bytes came in; `owed` says whether more is to come."""
        self.sent()
        if owed:
            self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._send)

    def sent(self) -> None:
        """Something real goes out, or nothing is wanted any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
