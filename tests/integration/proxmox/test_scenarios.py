"""What a real cluster does to its clients, brought about by fakepve: the outcome operators want."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import scenarios
from tests.support.scenarios import NODE, Scenarios

from pve402.proxmox import errors
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions, TimeLimits
from pve402.proxmox.guests import GuestRef, Guests, GuestSpec, NetworkSpec, RunState
from pve402.proxmox.nodes import Nodes
from pve402.proxmox.storage import Storages
from pve402.proxmox.tasks import PollPolicy, Tasks

pytestmark = pytest.mark.fakepve

CT = GuestRef(node=NODE, vmid=200)
PATH = f"/nodes/{NODE}/lxc/200"
QUICK = PollPolicy(first_seconds=0.02, ceiling_seconds=0.1)
SPEC = GuestSpec(
    hostname="web-1",
    template="local:vztmpl/debian-12-standard_12.7-1_amd64.tar.zst",
    storage="local-lvm",
    disk_gb=8,
    memory_mb=512,
    cores=1,
    network=NetworkSpec(bridge="vmbr0"),
    password="hunter22",
)
Call = Callable[[Guests], Awaitable[Any]]


@pytest.fixture
def pve(tmp_path: Path) -> Iterator[Scenarios]:
    """A fake with one stopped container."""
    guests = [{"vmid": 200, "name": "web-1", "node": NODE, "status": "stopped"}]
    with scenarios.running(tmp_path, guests=guests) as made:
        yield made


@pytest.fixture
async def client(pve: Scenarios) -> AsyncIterator[ProxmoxClient]:
    """A client that waits for some seconds only."""
    limits = TimeLimits(read_seconds=4, write_seconds=2)
    options = ProxmoxOptions(
        host=pve.url,
        username=pve.user,
        password=pve.password,
        ca_file=pve.certificate.certificate,
        limits=limits,
    )
    async with ProxmoxClient(options) as made:
        await made.call("GET", "/version")
        yield made


@pytest.fixture
def guests(client: ProxmoxClient) -> Guests:
    """What is done to containers."""
    return Guests(client)


@pytest.fixture
def tasks(client: ProxmoxClient) -> Tasks:
    """What Proxmox VE works on."""
    return Tasks(client)


async def finish(tasks: Tasks, upid: Any) -> Any:
    return await tasks.wait_until_finished(upid, limit_seconds=20, policy=QUICK)


async def test_a_backup_locks_a_guest_until_it_is_over(
    pve: Scenarios, guests: Guests, tasks: Tasks
) -> None:
    pve("snapshot_lock", 200, "backup")
    upid = await guests.start(CT)
    with pytest.raises(errors.TaskFailed) as caught:
        await finish(tasks, upid)
    with pytest.raises(errors.GuestLocked) as refused:
        await guests.update_config(CT, {"description": "x"})
    pve("unlock", 200)

    assert isinstance(caught.value.cause, errors.GuestLocked)
    assert refused.value.lock == "backup"
    assert (await finish(tasks, await guests.start(CT))).ok


async def test_a_held_configuration_is_locked_and_nothing_is_repeated(
    pve: Scenarios, guests: Guests
) -> None:
    pve("hold_config_lock", 200, None)
    with pytest.raises(errors.GuestLocked):
        await guests.update_config(CT, {"description": "x"})
    pve("release_config_lock", 200)

    await guests.update_config(CT, {"description": "x"})
    assert (await guests.config(CT)).description == "x"


async def test_without_quorum_guests_are_seen_and_not_touched(
    pve: Scenarios, guests: Guests, tasks: Tasks
) -> None:
    pve("lose_quorum")
    with pytest.raises(errors.NoQuorum):
        await guests.start(CT)
    seen = await guests.status(CT)
    pve("regain_quorum")

    assert seen.state is RunState.STOPPED
    assert (await finish(tasks, await guests.start(CT))).ok


async def test_a_node_that_is_away_was_surely_not_asked(
    pve: Scenarios, client: ProxmoxClient, guests: Guests, tasks: Tasks
) -> None:
    pve("set_node_offline", NODE)
    for call in (guests.start, guests.status, guests.delete):
        with pytest.raises(errors.Unreachable):
            await call(CT)
    (node,) = await Nodes(client).list()
    pve("set_node_offline", NODE, offline=False)

    assert not node.online
    assert (await finish(tasks, await guests.start(CT))).ok


async def test_a_write_on_a_dropped_connection_may_have_been_done(
    pve: Scenarios, guests: Guests
) -> None:
    pve("flaky_network", drop_rate=1.0)

    with pytest.raises(errors.OutcomeUnknown):
        await guests.start(CT)
    with pytest.raises(errors.ProxmoxError):
        await guests.status(CT)


async def test_a_read_on_a_dropped_connection_is_repeated(pve: Scenarios, guests: Guests) -> None:
    pve("flaky_network", drop_rate=0.3, seed=7)

    answers = []
    for _ in range(20):
        with contextlib.suppress(errors.ProxmoxError):
            answers.append(await guests.status(CT))

    assert len(answers) > 14


async def test_a_call_that_is_never_answered_ends_at_its_limit(
    pve: Scenarios, guests: Guests
) -> None:
    pve("flaky_network", hang_rate=1.0, hang_secs=10_000)

    with pytest.raises(errors.OutcomeUnknown):
        await guests.start(CT)


async def test_a_full_storage_is_seen_full(pve: Scenarios, client: ProxmoxClient) -> None:
    pve("set", "storages.local-lvm.avail", 1024)

    status = await Storages(client).status(NODE, "local-lvm")

    assert status.available == 1024


async def test_a_storage_that_is_away_refuses_the_creation_and_leaves_nothing(
    pve: Scenarios, guests: Guests, tasks: Tasks
) -> None:
    pve("set", "storages.local-lvm.active", 0)
    ref = GuestRef(node=NODE, vmid=300)

    with pytest.raises(errors.ProxmoxError):
        await finish(tasks, await guests.create(ref, SPEC))
    with pytest.raises(errors.GuestMissing):
        await guests.status(ref)


async def test_an_expired_ticket_is_renewed_unseen(
    pve: Scenarios, guests: Guests, tasks: Tasks
) -> None:
    pve("revoke_tickets")
    assert (await guests.status(CT)).state is RunState.STOPPED

    pve("revoke_tickets")
    assert (await finish(tasks, await guests.start(CT))).ok


async def test_a_login_that_wants_a_second_factor_is_refused(pve: Scenarios) -> None:
    pve("set", "tfa", True)
    options = ProxmoxOptions(
        host=pve.url, username=pve.user, password=pve.password,
        ca_file=pve.certificate.certificate,
    )  # fmt: skip

    async with ProxmoxClient(options) as fresh:
        with pytest.raises(errors.AuthenticationFailed):
            await fresh.call("GET", "/version")


async def test_a_slow_task_is_left_running_and_found_again(
    pve: Scenarios, guests: Guests, tasks: Tasks
) -> None:
    pve("set_guest", 200, "start_secs", 60)

    upid = await guests.start(CT)
    with pytest.raises(errors.TaskTimeout):
        await tasks.wait_until_finished(upid, limit_seconds=0.2, policy=QUICK)

    assert (await finish(tasks, upid)).ok
    assert (await guests.status(CT)).state is RunState.RUNNING


async def test_a_page_of_a_proxy_is_a_fault_and_never_an_answer(
    pve: Scenarios, guests: Guests
) -> None:
    for status in (502, 503, 500):
        pve.fail("GET", f"{PATH}/status/current", status=status, message="down", html=True)
        with pytest.raises((errors.ProxmoxFault, errors.Unreachable, errors.OutcomeUnknown)):
            await guests.status(CT)


async def test_a_slow_network_only_takes_its_time(pve: Scenarios, guests: Guests) -> None:
    pve("slow_network", 20, jitter=5)

    assert (await guests.status(CT)).state is RunState.STOPPED


CALLS: dict[tuple[str, str], Call] = {
    ("POST", f"/nodes/{NODE}/lxc"): lambda g: g.create(GuestRef(node=NODE, vmid=301), SPEC),
    ("POST", f"{PATH}/status/start"): lambda g: g.start(CT),
    ("POST", f"{PATH}/status/stop"): lambda g: g.stop(CT),
    ("POST", f"{PATH}/status/shutdown"): lambda g: g.shutdown(CT, limit_seconds=5),
    ("POST", f"{PATH}/status/reboot"): lambda g: g.reboot(CT),
    ("DELETE", PATH): lambda g: g.delete(CT),
    ("PUT", f"{PATH}/config"): lambda g: g.update_config(CT, {"description": "x"}),
    ("GET", f"{PATH}/status/current"): lambda g: g.status(CT),
    ("GET", f"{PATH}/config"): lambda g: g.config(CT),
    ("GET", f"{PATH}/interfaces"): lambda g: g.interfaces(CT),
    ("POST", f"{PATH}/termproxy"): lambda g: g.open_terminal(CT),
    ("POST", f"{PATH}/vncproxy"): lambda g: g.open_vnc(CT),
    ("GET", "/cluster/resources"): lambda g: g.list_all(),
    ("GET", "/cluster/nextid"): lambda g: g.next_vmid(205),
}
MEANINGS: dict[str, type[errors.ProxmoxError]] = {
    "already_running": errors.GuestRunning,
    "not_running": errors.GuestNotRunning,
    "configuration_file_does_not_exist": errors.GuestMissing,
    "locked": errors.GuestLocked,
    "config_lock_timeout": errors.GuestLocked,
    "protection_mode_enabled": errors.GuestProtected,
    "permission_denied": errors.PermissionDenied,
    "permission_check_failed": errors.PermissionDenied,
    "invalid_ticket": errors.AuthenticationFailed,
    "authentication_failure": errors.AuthenticationFailed,
    "invalid_csrf": errors.AuthenticationFailed,
    "not_implemented": errors.CallNotSupported,
    "no_route_to_host": errors.Unreachable,
    "hostname_lookup_failed": errors.NodeUnknown,
    "storage_does_not_exist": errors.StorageMissing,
    "param_vmid_already_exists": errors.GuestExists,
    "no_quorum": errors.NoQuorum,
}


@pytest.mark.parametrize(("method", "path"), CALLS, ids=lambda part: part)
async def test_every_named_error_of_a_call_has_its_meaning(
    pve: Scenarios, guests: Guests, tasks: Tasks, method: str, path: str
) -> None:
    met = []
    for known in pve("errors_for", method, path):
        pve("forget_failures")
        pve.fail(method, path, error=known["name"])
        caught = await _failure(guests, tasks, CALLS[method, path])
        met.append(known["name"])
        expected = MEANINGS.get(known["name"], errors.ProxmoxError)
        assert isinstance(caught, expected), (known["name"], caught)

    assert {"invalid_ticket", "not_implemented"} <= set(met)


async def _failure(guests: Guests, tasks: Tasks, call: Call) -> errors.ProxmoxError | None:
    """How a call failed, at once or as a task."""
    try:
        upid = await call(guests)
        await finish(tasks, upid)
    except errors.TaskFailed as failed:
        return failed.cause or failed
    except errors.ProxmoxError as refused:
        return refused
    return None
