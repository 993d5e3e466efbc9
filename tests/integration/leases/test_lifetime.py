"""The end of a lease: recorded once it is true, retried until then, never on a foreign guest."""

import asyncio
import contextlib

import pytest
from tests.support.installation import Installation, owner_of

from pve402.domain import errors, lease
from pve402.leases import views
from pve402.leases.service import Caller
from pve402_devnet.pve.faults import FaultKind

SHUTDOWN = r"POST .*/status/(shutdown|stop)$"
DELETE = r"DELETE .*/lxc/\d+$"
GRACE = 24 * 3600 + 10


async def test_a_lease_stops_at_its_end_and_is_deleted_after_its_grace(
    installation: Installation,
) -> None:
    row = (await installation.lease(minutes=10)).lease

    installation.pass_time(601)
    stopped = await installation.until_status(lease.LeaseStatus.STOPPED)
    ran = installation.runs(row.vmid)
    kept = row.vmid in installation.marked_guests
    installation.pass_time(GRACE)
    ended = await installation.until_status(lease.LeaseStatus.ENDED)

    assert not ran
    assert kept
    assert stopped.deletes_at is not None
    assert ended.end_reason == "expired"
    assert installation.marked_guests == set()


async def test_a_lease_does_not_end_a_second_early(installation: Installation) -> None:
    row = (await installation.lease(minutes=10)).lease

    installation.pass_time(590)
    await installation.settled_down()

    (now,) = await installation.leases_now()
    assert now.status is lease.LeaseStatus.ACTIVE
    assert installation.runs(row.vmid)


async def test_an_expiry_is_not_recorded_while_the_guest_is_locked(
    installation: Installation,
) -> None:
    row = (await installation.lease(minutes=10)).lease
    installation.fail_call(SHUTDOWN, FaultKind.LOCKED, text="backup", times=3)

    installation.pass_time(601)
    stopping = await installation.until_status(lease.LeaseStatus.STOPPING)
    ran = installation.runs(row.vmid)
    stopped = await installation.until_status(lease.LeaseStatus.STOPPED)

    assert ran
    assert stopping.expires_at == stopped.expires_at
    assert not installation.runs(row.vmid)


@pytest.mark.parametrize("kind", [FaultKind.ERROR, FaultKind.GATEWAY_TIMEOUT, FaultKind.DROP])
async def test_a_stop_that_fails_is_tried_again(
    installation: Installation, kind: FaultKind
) -> None:
    row = (await installation.lease(minutes=10)).lease
    installation.fail_call(SHUTDOWN, kind, times=3)

    installation.pass_time(601)
    await installation.until_status(lease.LeaseStatus.STOPPED)

    assert not installation.runs(row.vmid)


async def test_a_delete_that_fails_is_tried_again(installation: Installation) -> None:
    row = (await installation.lease()).lease
    installation.fail_call(DELETE, times=2)

    await installation.leases.end(row)
    await installation.until_status(lease.LeaseStatus.ENDED)

    assert installation.marked_guests == set()


async def test_an_owner_ends_a_lease_early(installation: Installation) -> None:
    tenant = installation.tenant()
    row = (await installation.lease(tenant)).lease

    await installation.leases.end(row)
    ended = await installation.until_status(lease.LeaseStatus.ENDED)

    caller = Caller(owner=owner_of(tenant), how="payment", by_key=True)
    assert ended.end_reason == "ended_by_owner"
    assert await installation.leases.list_leases(caller) == []
    (shown,) = await installation.leases.list_leases(caller, include_over=True)
    assert shown.lease.lease_id == row.lease_id


async def test_ending_twice_is_ending_once(installation: Installation) -> None:
    row = (await installation.lease()).lease
    await installation.leases.end(row)
    ended = await installation.until_status(lease.LeaseStatus.ENDED)

    assert await installation.leases.end(ended) == ended


async def test_the_token_ends_with_the_lease(installation: Installation) -> None:
    answer = await installation.lease()
    before = await installation.parts.access.authenticate(answer.access_token or "")

    await installation.leases.end(answer.lease)
    await installation.until_status(lease.LeaseStatus.ENDED)

    assert before.lease_id == answer.lease.lease_id
    with pytest.raises(errors.LeaseEnded):
        await installation.parts.access.authenticate(answer.access_token or "")


async def test_a_recycled_vmid_is_never_touched(installation: Installation) -> None:
    row = (await installation.lease(minutes=10)).lease
    guest = installation.proxmox.world.guests[row.vmid]
    guest.config.options["tags"] = "somebody-else"

    installation.pass_time(601)
    await installation.until_status(lease.LeaseStatus.ENDED)

    assert installation.runs(row.vmid)


@pytest.mark.parametrize("step", ["ensure_stopped", "ensure_gone"])
async def test_a_guest_that_comes_while_a_turn_is_waited_for_is_left_alone(
    installation: Installation, step: str
) -> None:
    row = (await installation.lease()).lease
    machines, guests = installation.parts.machines, installation.proxmox.world.guests
    guest = guests[row.vmid]
    async with contextlib.AsyncExitStack() as turns:
        for _ in range(installation.parts.lease_options.writes_on(None)):
            await turns.enter_async_context(machines.turn_to_write(row.node))
        waiting = asyncio.create_task(getattr(machines, step)(row))
        await asyncio.sleep(0.3)
        guest.config.options["tags"] = "somebody-else"
        asked = installation.record_proxmox_calls()
    await asyncio.gather(waiting, return_exceptions=True)

    assert guests[row.vmid] is guest
    assert installation.runs(row.vmid)
    assert all(call.startswith("GET ") for call in asked)


async def test_a_vmid_rests_for_a_day(installation: Installation) -> None:
    first = (await installation.lease()).lease
    await installation.leases.end(first)
    await installation.until_status(lease.LeaseStatus.ENDED)

    second = (await installation.lease()).lease

    assert second.vmid != first.vmid


async def test_a_ctid_means_the_lease_that_holds_it_now(installation: Installation) -> None:
    old_owner, new_owner = installation.tenant(), installation.tenant()
    old = (await installation.lease(old_owner)).lease
    await installation.leases.end(old)
    await installation.until_status(lease.LeaseStatus.ENDED)
    installation.pass_time(25 * 3600)
    await _use_up_range(installation, old.vmid)

    new = (await installation.lease(new_owner)).lease
    found = await installation.leases.find(old.ctid)

    assert new.vmid == old.vmid
    assert found.lease_id == new.lease_id
    with pytest.raises(errors.LeaseNotFound):
        await installation.leases.find(old.ctid, Caller(owner=old.owner, by_key=True))


async def test_a_list_makes_one_call_to_proxmox(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = installation.tenant()
    for _ in range(3):
        await installation.lease(tenant)
    await installation.proxmox.publish()
    asked = installation.record_proxmox_calls()
    monkeypatch.setattr(views, "FRESH_SECONDS", -1.0)  # as if nobody had looked for a while

    found = await installation.leases.list_leases(Caller(owner=owner_of(tenant), by_key=True))

    assert len(found) == 3
    assert asked == ["GET /cluster/resources"]


async def _use_up_range(installation: Installation, vmid: int) -> None:
    """Leave one vmid in the range, so that the next lease must take it."""
    settings = installation.parts.lease_options
    object.__setattr__(settings, "vmid_min", vmid)
    object.__setattr__(settings, "vmid_max", vmid)


async def test_a_terminal_that_cannot_be_closed_keeps_no_guest_running(
    installation: Installation,
) -> None:
    row = (await installation.lease(minutes=10)).lease

    async def broken(_guest: object) -> None:
        raise RuntimeError("simulated bug")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(installation.parts.guest_work.hub, "close_guest", broken)
        installation.pass_time(700)
        await installation.until_status(lease.LeaseStatus.STOPPED)

    assert not installation.runs(row.vmid)
