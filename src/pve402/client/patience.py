"""How what follows the service comes back after broken connections."""

import asyncio
from typing import Final

from pve402.client import errors

_RETRY_SECONDS: Final = 1.0
#: How long we go on trying while the service does not answer.
_SECONDS: Final = 120.0


class Patience:
    """Bears with a service that does not answer, for a while."""

    def __init__(self) -> None:
        """Begin while the service answers."""
        self._lost_at: float | None = None

    def answered(self) -> None:
        """The service has answered."""
        self._lost_at = None

    def lost(self, error: errors.ServiceUnreachable) -> None:
        """The service has not answered. Raises the error once that has gone on for too long."""
        now = asyncio.get_running_loop().time()
        self._lost_at = now if self._lost_at is None else self._lost_at
        if now - self._lost_at > _SECONDS:
            raise error

    async def pause(self) -> None:
        """Wait before asking again."""
        await asyncio.sleep(_RETRY_SECONDS)
