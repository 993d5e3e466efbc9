"""Work of this process that is repeated in the background: at intervals, and sooner if woken."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from pve402.domain import errors
from pve402.leases import workflow
from pve402.proxmox import errors as pve

log = structlog.get_logger(__name__)


class Rounds:
    """Repeats one action. An error is logged, and ends only the round that it occurred in."""

    def __init__(
        self, name: str, action: Callable[[], Awaitable[object]], pause_seconds: float
    ) -> None:
        """`action` may change `pause_seconds`; None means no further round until it is woken."""
        self._name = name
        self._action = action
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.pause_seconds: float | None = pause_seconds

    def start(self, *, with_pause: bool = False) -> None:
        """Begin with a round, or with a pause."""
        self._task = asyncio.create_task(self._go_on(with_pause=with_pause), name=self._name)

    async def start_after_one(self, limit_seconds: float) -> None:
        """Wait up to this many seconds for a first round, then go on with a pause."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_seconds):
                await self._once()
        self.start(with_pause=True)

    async def stop(self) -> None:
        """Stop, even in the middle of a round."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def wake(self) -> None:
        """Begin the next round now, or right after the current one."""
        self._woken.set()

    async def _go_on(self, *, with_pause: bool) -> None:
        if with_pause:
            await self._pause()
        while True:
            await self._once()
            await self._pause()

    async def _once(self) -> None:
        try:
            await self._action()
        except (errors.Pve402Error, pve.ProxmoxError) as error:
            log.warning("round_missed", of=self._name, error=workflow.reason_of(error))
        except Exception:
            log.exception("round_failed", of=self._name)

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.pause_seconds):
                await self._woken.wait()
        self._woken.clear()
