"""Sends an empty packet when that speeds up the terminal.

Small packets stall for 40 ms between pveproxy and termproxy until something goes the other
way. So we send an empty packet 1 ms after the last received bytes, unless we send real data
first. If the guest owes us nothing more we must not send it: it would stall our next packet.
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
        """Bytes came in; `owed` says whether more will come."""
        self.sent()
        if owed:
            self._timer = asyncio.get_running_loop().call_later(_SECONDS, self._send)

    def sent(self) -> None:
        """Real data goes out, or no nudge is needed any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
