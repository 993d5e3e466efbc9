"""Addresses that a guest got by DHCP: shown once they are there, waited for, never believed."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from tests.support.installation import Installation

from pve402.api.messages import leases as messages
from pve402.leases import service
from pve402_devnet.pve.faults import FaultKind
from pve402_devnet.pve.options import Latencies


@pytest.fixture
def database_url(tmp_path) -> str:
    """What Proxmox VE is asked does not depend on the database."""
    return f"sqlite:///{tmp_path}/pve402.sqlite3"


def shown(view) -> list[tuple[str, str]]:
    return [(one.address, one.source) for one in messages.lease_details(view, None).addresses]


async def test_an_address_is_waited_for_and_then_shown(installation: Installation):
    world = installation.proxmox.world
    row = (await installation.lease()).lease
    world.latencies = dataclasses.replace(Latencies(), addresses=0.0, dhcp=1e9)
    world.guests[row.vmid].started_at = world.clock.now()
    assert shown(await installation.leases.view(row)) == []

    waiting = asyncio.create_task(installation.leases.view(row, wait_seconds=30))
    await asyncio.sleep(0)
    world.latencies = dataclasses.replace(Latencies(), addresses=0.0, dhcp=0.0)

    ((address, source),) = shown(await waiting)
    assert (address.split(".")[:3], source) == (["10", "99", "0"], "seen")
    caller = service.Caller(owner=row.owner, by_key=True)
    (listed,) = await installation.leases.list_leases(caller)
    assert shown(listed) == [(address, "seen")]


async def test_a_stopped_guest_is_not_waited_for(installation: Installation):
    row = (await installation.lease()).lease
    stopped = await installation.leases.stop(row)

    view = await installation.leases.view(stopped, wait_seconds=1e9)

    assert shown(view) == []


async def test_a_proxmox_that_does_not_tell_is_no_error(installation: Installation):
    row = (await installation.lease()).lease
    installation.fail_call("GET .*/interfaces$", FaultKind.ERROR)

    assert shown(await installation.leases.view(row)) == []
