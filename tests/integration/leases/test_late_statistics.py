"""Proxmox VE's list is ten seconds behind, or frozen: we still know what we did ourselves."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import structlog
from tests.support.installation import Installation

from pve402.domain import lease
from pve402.proxmox.resources import RunState

Case = Callable[[Installation], Awaitable[tuple[lease.Lease, RunState]]]


async def published(made: Installation) -> None:
    """Let the list show the current state, and then freeze it."""
    made.proxmox.world.statistics_dead = False
    await made.proxmox.publish()
    made.proxmox.world.statistics_dead = True


async def handed_over(made: Installation) -> tuple[lease.Lease, RunState]:
    return (await made.lease()).lease, RunState.RUNNING


async def stopped(made: Installation) -> tuple[lease.Lease, RunState]:
    row = (await made.lease()).lease
    return await made.leases.stop(row), RunState.STOPPED


async def stopped_after_it_was_shown(made: Installation) -> tuple[lease.Lease, RunState]:
    row = (await made.lease()).lease
    await published(made)
    return await made.leases.stop(row), RunState.STOPPED


async def started_again(made: Installation) -> tuple[lease.Lease, RunState]:
    row = await made.leases.stop((await made.lease()).lease)
    await published(made)
    return await made.leases.start(row), RunState.RUNNING


async def rebooted(made: Installation) -> tuple[lease.Lease, RunState]:
    row = (await made.lease()).lease
    return await made.leases.reboot(row), RunState.RUNNING


async def in_grace(made: Installation) -> tuple[lease.Lease, RunState]:
    await made.lease(minutes=600)
    await published(made)
    made.pass_time(600 * 60 + 1)
    return await made.until_status(lease.LeaseStatus.STOPPED), RunState.STOPPED


async def gone_down(made: Installation) -> tuple[lease.Lease, RunState]:
    row = (await made.lease()).lease
    await published(made)
    row = await made.leases.stop(row)
    guest = made.proxmox.world.guests[row.vmid]
    guest.published = None
    return row, RunState.STOPPED


CASES: list[Case] = [
    handed_over,
    stopped,
    stopped_after_it_was_shown,
    started_again,
    rebooted,
    in_grace,
    gone_down,
]


@pytest.fixture
def late(installation: Installation) -> Installation:
    """An installation whose Proxmox VE never shows its guests' states."""
    installation.proxmox.world.statistics_dead = True
    return installation


@pytest.mark.parametrize("case", CASES)
async def test_a_guest_is_shown_as_we_left_it(late: Installation, case: Case) -> None:
    row, expected = await case(late)

    one = await late.leases.view(row)

    assert one.guest is not None
    assert one.guest.state is expected


@pytest.mark.parametrize("case", CASES)
async def test_no_restart_is_spent_on_a_guest_that_is_as_we_left_it(
    late: Installation, case: Case
) -> None:
    row, expected = await case(late)
    asked = late.record_proxmox_calls()

    with structlog.testing.capture_logs() as said:
        for _ in range(4):
            await late.parts.lease_reconciler.run_once()
    (kept,) = await late.leases_now()

    assert kept.restarts == 0
    assert late.runs(row.vmid) is (expected is RunState.RUNNING)
    assert not [call for call in asked if call.startswith("POST")]
    assert not {"guest_restarted", "guest_vanished"} & {line["event"] for line in said}


async def test_a_guest_without_a_state_that_is_down_is_started_again(late: Installation) -> None:
    row = (await late.lease()).lease
    guest: Any = late.proxmox.world.guests[row.vmid]
    guest.pid = guest.started_at = None

    await late.parts.lease_reconciler.run_once()
    (kept,) = await late.leases_now()

    assert late.runs(row.vmid)
    assert kept.restarts == 1
