"""A vmid that is another guest's by now: no way leads into it for the lease that held it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.installation import Installation, running

from pve402.devnet.chain import SimulatedChain
from pve402.devnet.facilitator import SimulatedFacilitator
from pve402.devnet.pve.simulator import SimulatedProxmox
from pve402.domain import lease
from pve402.hub import errors
from pve402.hub.request import ExecRequest
from pve402.leases import guest_work


@pytest.fixture
async def by_call(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> AsyncIterator[Installation]:
    """An installation that runs commands through the exec call."""
    database_url = f"sqlite:///{tmp_path}/pve402.sqlite3"
    async with running(database_url, proxmox, chain, facilitator, pve_exec="api") as made:
        yield made


async def test_the_exec_call_is_not_made(by_call: Installation) -> None:
    row = (await by_call.lease()).lease
    become(by_call, row, "somebody-else")
    asked = by_call.record_proxmox_calls()

    with pytest.raises(errors.GuestNotRunning):
        await by_call.parts.guest_work.commands.start(
            guest_work.ref(row), ExecRequest(command="id")
        )

    assert asked == [f"GET /nodes/pve/lxc/{row.vmid}/status/current"]


def become(installation: Installation, of: lease.Lease, tags: str) -> None:
    """Have the guest on a lease's vmid carry other tags, as another guest does."""
    installation.proxmox.world.guests[of.vmid].config.options["tags"] = tags
