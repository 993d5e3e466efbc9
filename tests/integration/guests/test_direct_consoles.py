"""Consoles from Proxmox VE itself: a user for one lease, with one right, and gone with it."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import structlog
from tests.support.installation import Installation, running

from pve402.api.routes.console import direct_answer
from pve402.domain import errors, lease
from pve402.guests.consoles import Kind
from pve402.guests.direct_consoles import ROLE, DirectConsoleRefused, DirectConsoles
from pve402.hub import errors as hub_errors
from pve402.proxmox import errors as pve
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.guests import GuestRef, Guests
from pve402.schemas import ConsoleAnswer
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox


@pytest.fixture
async def direct(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> AsyncIterator[Installation]:
    """An installation that gives out consoles of Proxmox VE, where the role for it was made."""
    proxmox.world.access.roles[ROLE] = frozenset({"VM.Console"})
    chosen = {"pve_console_mode": "direct", "pve_console_host": proxmox.base_url}
    database_url = f"sqlite:///{tmp_path}/pve402.sqlite3"
    async with running(database_url, proxmox, chain, facilitator, **chosen) as made:
        yield made


def consoles(installation: Installation) -> DirectConsoles:
    found = installation.parts.guest_work.direct
    assert found is not None
    return found


def users(installation: Installation) -> set[str]:
    """The users that were made for leases."""
    return {name for name in installation.proxmox.world.access.users if name.startswith("test.")}


async def test_the_user_of_a_lease_may_open_its_console_and_do_nothing_else(
    direct: Installation,
) -> None:
    mine, other = (await direct.lease()).lease, (await direct.lease()).lease
    console = await consoles(direct).open(mine, vnc=True)

    assert console.login.username == f"test.{mine.lease_id}@pve"
    async with as_user(direct, console.login.username, console.login.ticket) as client:
        guests = Guests(client)
        assert (await guests.open_terminal(ref(mine))).user == console.login.username
        for refused in (
            guests.open_terminal(ref(other)),
            guests.status(ref(mine)),
            guests.stop(ref(mine)),
            guests.config(ref(mine)),
        ):
            with pytest.raises((pve.PermissionDenied, pve.GuestMissing)):
                await refused


@pytest.mark.parametrize("vnc", [True, False])
async def test_what_a_tenant_is_answered_opens_the_console(direct: Installation, vnc: bool) -> None:
    """Cookie and ticket are one user's; for another's cookie the ticket is good for nothing."""
    mine, other = (await direct.lease()).lease, (await direct.lease()).lease
    answer, foreign = await answered(direct, mine, vnc=vnc), await answered(direct, other, vnc=vnc)
    cookie, wrong = (text.console_url.partition("#")[2] for text in (answer, foreign))

    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(answer.websocket_url, headers={"Cookie": wrong})
        async with session.ws_connect(answer.websocket_url, headers={"Cookie": cookie}) as socket:
            assert not socket.closed

    assert refused.value.status in {401, 403}
    assert answer.user == f"test.{mine.lease_id}@pve"


async def test_root_takes_no_part_even_where_its_password_is_known(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    chosen = {
        "pve_console_mode": "direct",
        "pve_console_host": proxmox.base_url,
        "pve_root_password": proxmox.root_password,
    }
    async with running(
        f"sqlite:///{tmp_path}/pve402.sqlite3", proxmox, chain, facilitator, **chosen
    ) as made:
        row = (await made.lease()).lease
        with pytest.raises(DirectConsoleRefused):
            await consoles(made).check(row)
        proxmox.world.access.roles[ROLE] = frozenset({"VM.Console"})
        answer = await answered(made, row, vnc=True)

    assert answer.user == f"test.{row.lease_id}@pve"
    assert "root" not in answer.console_url + answer.websocket_url + answer.ticket


async def test_asked_twice_it_is_the_same_user(direct: Installation) -> None:
    row = (await direct.lease()).lease

    first = await consoles(direct).open(row, vnc=False)
    second = await consoles(direct).open(row, vnc=False)

    assert first.login.username == second.login.username
    assert len(users(direct)) == 1


async def test_the_user_goes_with_the_lease(direct: Installation) -> None:
    row = (await direct.lease()).lease
    await consoles(direct).open(row, vnc=True)

    await direct.leases.end(row)
    await direct.until_status(lease.LeaseStatus.ENDED)

    assert users(direct) == set()


async def test_users_that_a_crash_left_behind_are_swept(direct: Installation) -> None:
    row, ended = (await direct.lease()).lease, (await direct.lease()).lease
    for one in (row, ended):
        await consoles(direct).open(one, vnc=True)
    left_behind = dict(direct.proxmox.world.access.users)
    await direct.leases.end(ended)
    await direct.until_status(lease.LeaseStatus.ENDED)
    direct.proxmox.world.access.users.update(left_behind)

    await consoles(direct).sweep()

    assert users(direct) == {f"test.{row.lease_id}@pve"}


async def test_a_lease_that_has_just_ended_gets_no_user(direct: Installation) -> None:
    row = (await direct.lease()).lease
    await direct.leases.end(row)
    await direct.until_status(lease.LeaseStatus.ENDED)

    with pytest.raises((errors.LeaseNotReady, hub_errors.GuestNotRunning)):
        await consoles(direct).open(row, vnc=True)

    assert users(direct) == set()


@pytest.mark.parametrize("tags", ["somebody-else", "pve402-test;lease-l" + "0" * 25])
async def test_nobody_is_let_into_a_guest_that_is_not_of_the_lease(
    direct: Installation, tags: str
) -> None:
    row = (await direct.lease()).lease
    direct.proxmox.world.guests[row.vmid].config.options["tags"] = tags

    with pytest.raises(hub_errors.GuestNotRunning):
        await consoles(direct).open(row, vnc=True)

    assert users(direct) == set()


@pytest.mark.parametrize("role", [None, {"VM.Console", "VM.PowerMgmt"}, set()])
async def test_a_role_that_is_not_what_it_should_be_is_refused_and_told(
    direct: Installation, role: set[str] | None
) -> None:
    row = (await direct.lease()).lease
    roles = direct.proxmox.world.access.roles
    roles.pop(ROLE)
    if role is not None:
        roles[ROLE] = frozenset(role)

    with structlog.testing.capture_logs() as logs, pytest.raises(DirectConsoleRefused):
        await consoles(direct).check(row)

    (told,) = [line for line in logs if line["event"] == "direct_console_refused"]
    assert told["role_needs"] == ["VM.Console"]
    assert told["role_has"] == (None if role is None else sorted(role))


@pytest.mark.parametrize("there", [{"Pve402Console"}, {ROLE, "Pve402Console"}])
async def test_a_role_of_the_former_name_still_serves(
    direct: Installation, there: set[str]
) -> None:
    row = (await direct.lease()).lease
    roles = direct.proxmox.world.access.roles
    roles.pop(ROLE)
    roles.update(dict.fromkeys(there, frozenset({"VM.Console"})))

    await consoles(direct).check(row)
    await consoles(direct).open(row, vnc=True)

    (granted,) = users(direct)
    assert granted == f"test.{row.lease_id}@pve"


async def test_a_host_alone_switches_nothing(
    tmp_path: Path,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    database_url = f"sqlite:///{tmp_path}/pve402.sqlite3"
    chosen = {"pve_console_host": proxmox.base_url}
    async with running(database_url, proxmox, chain, facilitator, **chosen) as made:
        assert made.parts.guest_work.direct is None


async def answered(installation: Installation, row: lease.Lease, *, vnc: bool) -> ConsoleAnswer:
    """What the API answers for a console."""
    console = await consoles(installation).open(row, vnc=vnc)
    kind = Kind.VNC if vnc else Kind.TERMINAL
    return direct_answer(installation.proxmox.base_url, row, kind, console)


def as_user(installation: Installation, name: str, password: str) -> ProxmoxClient:
    options = ProxmoxOptions(host=installation.proxmox.base_url, username=name, password=password)
    return ProxmoxClient(dataclasses.replace(options))


def ref(row: lease.Lease) -> GuestRef:
    return GuestRef(node=row.node, vmid=row.vmid)
