"""Shells of trial guests where no shell runs: what they would say."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import pytest

from pve402.domain import lease
from pve402.guests import shell_looks
from pve402.hub import errors
from pve402.leases.images import oci_trials


@dataclasses.dataclass(kw_only=True)
class FakeShells:
    """Says the same of every guest that runs."""

    said: oci_trials.Shell = dataclasses.field(
        default_factory=lambda: oci_trials.Shell(machine="x86_64", user="0")
    )
    answers: bool = True
    runs: Callable[[int], bool] = lambda _vmid: True
    asked: list[lease.Lease] = dataclasses.field(default_factory=list)
    on_ask: Callable[[lease.Lease], None] = lambda _row: None

    async def ask(self, row: lease.Lease) -> oci_trials.Shell:
        """Answer, unless the guest is down or told to be silent."""
        self.asked.append(row)
        self.on_ask(row)
        if not self.answers or not self.runs(row.vmid):
            raise errors.GuestNotRunning("the guest is down")
        return self.said


@contextlib.contextmanager
def installed() -> Iterator[FakeShells]:
    """Have what is built in the block ask a fake, and not through the hub."""
    fake = FakeShells()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shell_looks, "ShellLooks", lambda _hub: fake)
        yield fake
