"""A vmid that is another guest's by now: no way leads into it for the lease that held it."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.installation import Installation, running

from pve402.domain import lease, mark
from pve402.guests import guest_work
from pve402.hub import errors
from pve402.hub.request import ExecRequest
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox


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


FOREIGN = ["somebody-else", f"pve402-test;{mark.lease_tag('l' + '0' * 25)}"]


@pytest.mark.parametrize("tags", FOREIGN)
async def test_the_exec_call_is_not_made(by_call: Installation, tags: str) -> None:
    row = (await by_call.lease()).lease
    become(by_call, row, tags)
    asked = by_call.record_proxmox_calls()

    with pytest.raises(errors.GuestNotRunning):
        await by_call.parts.guest_work.commands.start(
            guest_work.ref(row), ExecRequest(command="id")
        )

    of_it = [call for call in asked if str(row.vmid) in call]
    assert of_it == [f"GET /nodes/pve/lxc/{row.vmid}/status/current"]


@pytest.mark.parametrize("tags", FOREIGN)
@pytest.mark.parametrize("way", ["terminal", "vnc"])
async def test_no_console_is_opened(installation: Installation, way: str, tags: str) -> None:
    row = (await installation.lease()).lease
    become(installation, row, tags)
    asked = installation.record_proxmox_calls()
    work = installation.parts.guest_work
    enter = work.open_vnc if way == "vnc" else work.hub.session

    with pytest.raises(errors.GuestNotRunning):
        await enter(guest_work.ref(row))

    of_it = [call for call in asked if str(row.vmid) in call]
    assert of_it == [f"GET /nodes/pve/lxc/{row.vmid}/status/current"]


async def test_an_open_terminal_is_of_one_lease_alone(installation: Installation) -> None:
    """A call that waited until its lease was over finds the vmid to be another's."""
    late = (await installation.lease()).lease
    now = dataclasses.replace(late, lease_id="l" + "0" * 25)

    assert guest_work.ref(late) != guest_work.ref(now)


@pytest.mark.parametrize("tags", FOREIGN)
async def test_its_figures_are_not_shown(installation: Installation, tags: str) -> None:
    row = (await installation.lease()).lease
    become(installation, row, tags)
    await installation.proxmox.publish()
    await installation.parts.view.fresh(0.0)

    view = await installation.leases.view(row)

    assert (view.guest, view.seen) == (None, True)


def become(installation: Installation, row: lease.Lease, tags: str) -> None:
    """Have the guest on a lease's vmid carry other tags, as another guest does."""
    installation.proxmox.world.guests[row.vmid].config.options["tags"] = tags
