"""Installations that are broken in one way each, by rows of docs/how-to/troubleshoot.md."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from tests.support.installation import settings

from pve402 import bootstrap
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.options import Progress, SimulatorOptions
from pve402_devnet.pve.simulator import SimulatedProxmox

GOOD = SimulatorOptions(
    progress=Progress.IMMEDIATELY, publish_interval_seconds=0.05, auth_failure_seconds=0.0
)


@dataclasses.dataclass
class World:
    """What an installation stands on, and what is changed in its settings."""

    folder: Path
    proxmox: SimulatedProxmox
    chain: SimulatedChain
    facilitator: SimulatedFacilitator
    monkeypatch: pytest.MonkeyPatch
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)
    database_url: str = ""
    env_file: Path | None = None

    def parts(self) -> bootstrap.Components:
        """The installation, not started."""
        url = self.database_url or f"sqlite:///{self.folder}/pve402.sqlite3"
        world = (self.proxmox, self.chain, self.facilitator)
        return bootstrap.build(settings(url, *world, **self.changes))


Break = Callable[[World], AbstractAsyncContextManager[None]]
BROKEN: dict[str, tuple[SimulatorOptions, Break]] = {}


def broken(row: str, options: SimulatorOptions = GOOD) -> Callable[[Any], Any]:
    """Say which row an installation shows."""

    def note(function: Any) -> Any:
        BROKEN[row] = (options, contextlib.asynccontextmanager(function))
        return function

    return note


def setting(row: str, **changes: Any) -> None:
    """A row that is one setting."""

    async def change(world: World) -> AsyncIterator[None]:
        world.changes |= changes
        yield

    BROKEN[row] = (GOOD, contextlib.asynccontextmanager(change))
