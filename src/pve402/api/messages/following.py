"""Ends a command that was started as an event stream, once its client has left it for good.

A client whose stream broke has a minute to take it up again. Programs that need nobody are started
with `detach`.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from pve402.api.messages import commands
from pve402.domain.lease import Lease
from pve402.hub.execution import Execution

#: How long a command runs on while nobody follows it or looks at it.
LEFT_SECONDS: Final = 60.0
_CLOSE_ENOUGH_SECONDS: Final = 1.0


async def events(lease: Lease, execution: Execution) -> AsyncGenerator[bytes]:
    """Yield the events of a command that this stream started."""
    try:
        async with aclosing(commands.events(lease, execution, 0)) as following:
            async for event in following:
                yield event
    finally:
        _end_if_left(execution)


def _end_if_left(execution: Execution) -> None:
    """End the command if it was left for long enough; otherwise look again when it may be."""
    if not execution.is_running:
        return
    more_seconds = LEFT_SECONDS - execution.left_seconds
    if more_seconds > _CLOSE_ENOUGH_SECONDS:
        loop = asyncio.get_running_loop()
        loop.call_later(more_seconds, _end_if_left, execution)
    else:
        execution.cancel()
