"""The lock file of each guest's configuration: one holder at a time, ten seconds of patience."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Literal

from pve402_devnet.pve import clock, errors, tasks

PATIENCE_SECONDS = 10.0
CREATE_PATIENCE_SECONDS = 5.0


class ConfigLocks:
    """`/run/lock/lxc/pve-config-VMID.lock` of every guest."""

    def __init__(self, time: clock.Clock) -> None:
        self._clock = time
        self._locks: dict[int, asyncio.Lock] = {}

    @contextlib.asynccontextmanager
    async def hold(
        self, vmid: int, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> AsyncIterator[None]:
        """Hold the lock for a block; raises `errors.Failure` when it does not come free in time.

        A worker that has to wait says so in its log, as flock's wrapper in Proxmox does.
        """
        lock = self._locks.setdefault(vmid, asyncio.Lock())
        task = tasks.current_task.get()
        if lock.locked() and task is not None:
            task.log("trying to acquire lock...")
        waited = lock.locked()
        if not await self._acquire(lock, patience_seconds):
            raise errors.Failure(
                f"can't lock file '/run/lock/lxc/pve-config-{vmid}.lock' - got timeout"
            )
        if waited and task is not None:
            task.log(" OK")
        try:
            yield
        finally:
            lock.release()

    async def _acquire(self, lock: asyncio.Lock, patience_seconds: float) -> bool:
        if not lock.locked():
            await lock.acquire()
            return True
        acquiring = asyncio.create_task(lock.acquire())
        waiting = asyncio.create_task(self._clock.sleep(patience_seconds))
        try:
            await asyncio.wait({acquiring, waiting}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await _give_up(lock, acquiring)
            raise
        finally:
            waiting.cancel()
        if acquiring.done():
            return True
        acquiring.cancel()
        return False


async def _give_up(lock: asyncio.Lock, acquiring: "asyncio.Task[Literal[True]]") -> None:
    acquiring.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await acquiring
        lock.release()
