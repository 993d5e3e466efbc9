"""One installation in this process, on a SQLite file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.chain import chain, facilitator
from tests.support.installation import Installation, proxmox, running

from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox

__all__ = ["chain", "facilitator", "proxmox"]


@pytest.fixture
async def installation(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> AsyncIterator[Installation]:
    """A running installation."""
    url = f"sqlite:///{tmp_path}/pve402.sqlite3"
    async with running(url, proxmox, chain, facilitator) as made:
        yield made
