"""What guests used, asked of a Proxmox VE that keeps the figures of the guests before them."""

from __future__ import annotations

import datetime

import pytest
from tests.support.installation import Installation

from pve402.domain import errors
from pve402.proxmox import guests as pve_guests
from pve402_devnet.pve.faults import FaultKind


@pytest.fixture
def database_url(tmp_path) -> str:
    """What Proxmox VE is asked does not depend on the database."""
    return f"sqlite:///{tmp_path}/pve402.sqlite3"


async def test_figures_of_guests_before_are_not_told(installation: Installation):
    world = installation.proxmox.world
    row = (await installation.lease()).lease
    now = world.clock.now()
    began = now - 1800
    world.past_lives[row.vmid].append((now - 3000, began - 60))
    world.guests[row.vmid].created_at = world.guests[row.vmid].started_at = began
    begin = datetime.datetime.fromtimestamp(began, datetime.UTC)
    row = row.evolve(created_at=begin, create_sent_at=begin)

    told = await installation.leases.history.of(row, "hour")

    ref = pve_guests.GuestRef(node=row.node, vmid=row.vmid)
    kept = await installation.parts.guests.past_figures(ref, "hour")
    earlier = [one for one in kept if one.ended_at < began]
    assert (len(earlier) > 15, len(told) > 25) == (True, True)
    assert min(one.began_at for one in told) >= began
    assert told[-1].memory_used


async def test_a_lease_of_this_minute_has_no_figures_and_no_error(installation: Installation):
    row = (await installation.lease()).lease

    assert list(await installation.leases.history.of(row, "day")) == []


async def test_a_guest_without_a_file_has_no_figures(installation: Installation):
    row = (await installation.lease()).lease
    text = f"RRD error: rrd_fetch_r failed: opening '/x/{row.vmid}': No such file or directory"
    installation.fail_call("GET .*/rrddata$", FaultKind.ERROR, text=text)

    assert list(await installation.leases.history.of(row, "hour")) == []


async def test_a_proxmox_that_fails_is_told_as_that(installation: Installation):
    row = (await installation.lease()).lease
    installation.fail_call("GET .*/rrddata$", FaultKind.ERROR)

    with pytest.raises(errors.ProxmoxUnavailable):
        await installation.leases.history.of(row, "hour")


async def test_an_ended_lease_has_no_figures(installation: Installation):
    row = (await installation.lease()).lease
    asked = installation.record_proxmox_calls()
    await installation.leases.end(row)
    await installation.settled_down()
    (ended,) = await installation.leases_now()

    assert list(await installation.leases.history.of(ended, "hour")) == []
    assert [call for call in asked if "rrddata" in call] == []
