"""Warm guests where no shell runs: what they would be told, and troubles on order."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import pytest

from pve402.domain import lease
from pve402.guests import rekeying
from pve402.leases import machine, warm_guests, workflow


@dataclasses.dataclass(kw_only=True)
class FakeRekey:
    """Notes who was re-keyed; checks and re-keyings fail as ordered."""

    sound: bool = True
    failures: int = 0
    #: Whether a guest runs; no shell answers in one that does not.
    runs: Callable[[int], bool] = lambda _vmid: True
    told: list[tuple[lease.Lease, machine.Secrets]] = dataclasses.field(default_factory=list)
    on_rekey: Callable[[], None] = lambda: None

    async def check(self, row: lease.Lease) -> None:
        """Answer unless told to be broken."""
        if not self.sound or not self.runs(row.vmid):
            raise warm_guests.NotReady(f"{row.vmid} does not answer")

    async def rekey(self, row: lease.Lease, secrets: machine.Secrets) -> None:
        """Note it, unless a failure was ordered."""
        self.on_rekey()
        if self.failures or not self.runs(row.vmid):
            self.failures = max(0, self.failures - 1)
            raise workflow.RetryLater("not re-keyed", after_seconds=0.01)
        self.told.append((row, secrets))

    async def leave(self, row: lease.Lease) -> None:
        """There is nothing to close."""


@contextlib.contextmanager
def installed() -> Iterator[FakeRekey]:
    """Have what is built in the block re-key by a fake, and not through the hub."""
    fake = FakeRekey()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rekeying, "TerminalRekeying", lambda _hub: fake)
        yield fake
