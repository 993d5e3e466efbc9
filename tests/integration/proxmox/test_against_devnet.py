"""The client against the simulated Proxmox VE of the devnet, a program of its own."""

import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import count

import dotenv
import pytest
from aiohttp import WSMsgType
from tests.support import programs

from pve402.proxmox import errors
from pve402.proxmox.access import Access, Needs
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.guests import GuestRef, Guests, GuestSpec, NetworkSpec, RunState
from pve402.proxmox.nodes import Nodes
from pve402.proxmox.storage import Storages
from pve402.proxmox.tasks import PollPolicy, Tasks

pytestmark = pytest.mark.namespaces

QUICK = PollPolicy(first_seconds=0.02, ceiling_seconds=0.2)
BRIDGE, STORAGE = "vmbr0", "local"
MISSING = GuestRef(node="pve", vmid=99999)
_vmids = count(10000)


@pytest.fixture(scope="module")
def devnet_options(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxmoxOptions]:
    """The whole devnet; its token has the least rights a lessor needs."""
    env_file = tmp_path_factory.mktemp("devnet") / "devnet.env"
    command = [sys.executable, "-m", "pve402_devnet.main", "--latency", "0.05"]
    with programs.running(
        [*command, "--env-file", env_file], is_ready=lambda lines: env_file.exists()
    ):
        told = dotenv.dotenv_values(env_file)
        yield ProxmoxOptions(
            host=told["PVE_HOST"] or "",
            token_id=told["PVE_TOKEN_ID"] or "",
            token_secret=told["PVE_TOKEN_SECRET"] or "",
        )


@pytest.fixture
async def devnet(devnet_options: ProxmoxOptions) -> AsyncIterator[ProxmoxClient]:
    async with ProxmoxClient(devnet_options) as client:
        yield client


def settings_of(lines: list[str]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in lines if line.startswith("PVE_"))


@pytest.fixture(scope="module")
def root_options() -> Iterator[ProxmoxOptions]:
    """The simulated Proxmox VE alone, as root; its guests run nothing."""
    command = [sys.executable, "-m", "pve402_devnet.pve", "--port", "0", "--latency", "0.05"]
    with programs.running(
        command, is_ready=lambda lines: "PVE_TOKEN_SECRET" in settings_of(lines)
    ) as lines:
        told = settings_of(lines)
        yield ProxmoxOptions(
            host=told["PVE_HOST"],
            token_id=told["PVE_TOKEN_ID"],
            token_secret=told["PVE_TOKEN_SECRET"],
        )


@pytest.fixture
async def root(root_options: ProxmoxOptions) -> AsyncIterator[ProxmoxClient]:
    async with ProxmoxClient(root_options) as client:
        yield client


async def make(client: ProxmoxClient) -> GuestRef:
    """A new guest, stopped."""
    ref = GuestRef(node="pve", vmid=next(_vmids))
    template, *_ = await Storages(client).templates("pve", STORAGE)
    spec = GuestSpec(
        hostname="web-1",
        template=template.volid,
        storage=STORAGE,
        disk_gb=1,
        memory_mb=64,
        cores=1,
        network=NetworkSpec(bridge=BRIDGE),
        password="hunter22",
        tags=("lease-x", "pve402-a"),
        description="pve402:v1:x",
    )
    upid = await Guests(client).create(ref, spec)
    await Tasks(client).wait_until_finished(upid, limit_seconds=60, policy=QUICK)
    return ref


async def start(client: ProxmoxClient, ref: GuestRef) -> None:
    upid = await Guests(client).start(ref)
    await Tasks(client).wait_until_finished(upid, limit_seconds=60, policy=QUICK)


async def test_a_guest_lives_from_creation_to_deletion(devnet: ProxmoxClient) -> None:
    guests, tasks = Guests(devnet), Tasks(devnet)
    ref = await make(devnet)
    config = await guests.config(ref)

    await start(devnet, ref)
    running = await guests.status(ref)
    for step in (guests.stop, guests.delete):
        await tasks.wait_until_finished(await step(ref), limit_seconds=60, policy=QUICK)

    assert (config.hostname, config.memory_mb, config.tags) == (
        "web-1", 64, ("lease-x", "pve402-a"),
    )  # fmt: skip
    assert config.description == "pve402:v1:x"
    assert running.state is RunState.RUNNING
    with pytest.raises(errors.GuestMissing):
        await guests.status(ref)


async def test_every_guest_is_listed_in_one_call(devnet: ProxmoxClient) -> None:
    made = {await make(devnet), await make(devnet)}

    listed = {GuestRef(node=g.node, vmid=g.vmid) for g in await Guests(devnet).list_all()}

    assert made <= listed


async def test_guests_in_the_wrong_state_are_told_apart(devnet: ProxmoxClient) -> None:
    guests, ref = Guests(devnet), await make(devnet)

    with pytest.raises(errors.GuestNotRunning):
        await guests.stop(ref)
    with pytest.raises(errors.GuestExists):
        await guests.next_vmid(ref.vmid)
    await start(devnet, ref)
    with pytest.raises(errors.GuestRunning):
        await guests.start(ref)
    with pytest.raises(errors.GuestRunning):
        await guests.delete(ref)


async def test_a_start_of_a_missing_guest_fails_in_its_task(devnet: ProxmoxClient) -> None:
    upid = await Guests(devnet).start(MISSING)

    with pytest.raises(errors.TaskFailed) as caught:
        await Tasks(devnet).wait_until_finished(upid, limit_seconds=60, policy=QUICK)
    assert isinstance(caught.value.cause, errors.GuestMissing)


async def test_a_stale_digest_is_refused(devnet: ProxmoxClient) -> None:
    guests, ref = Guests(devnet), await make(devnet)
    before = await guests.config(ref)
    await guests.update_config(ref, {"description": "new"}, digest=before.digest)

    with pytest.raises(errors.ConfigChanged):
        await guests.update_config(ref, {"description": "newer"}, digest=before.digest)
    assert (await guests.config(ref)).description == "new"


async def test_exec_is_not_supported(devnet: ProxmoxClient) -> None:
    with pytest.raises(errors.CallNotSupported):
        await Guests(devnet).execute(await make(devnet), "ls", "-la")


async def test_nodes_and_storages_are_read(devnet: ProxmoxClient) -> None:
    nodes = Nodes(devnet)

    status = await nodes.status("pve")
    found = await nodes.cluster_resources()

    assert status.memory.total >= status.memory.used > 0
    assert [node.node for node in found.nodes] == ["pve"]
    assert STORAGE in [storage.storage for storage in await Storages(devnet).list("pve")]


async def test_the_token_of_the_devnet_has_what_leasing_needs_and_no_more(
    devnet: ProxmoxClient,
) -> None:
    needs = Needs(vmid=10000, node="pve", storages=(STORAGE,), bridges={BRIDGE: "localnetwork"})

    missing = await Access(devnet).missing_privileges(replace(needs, console_users=True))

    assert set(missing) == {"/access/realm/pve", "/access/groups"}


async def test_unknown_nodes_and_storages_are_told_apart(root: ProxmoxClient) -> None:
    with pytest.raises(errors.NodeUnknown):
        await Nodes(root).status("nosuch")
    with pytest.raises(errors.StorageMissing):
        await Storages(root).templates("pve", "nosuch")


async def test_a_terminal_opens_with_its_ticket(devnet: ProxmoxClient) -> None:
    guests, ref = Guests(devnet), await make(devnet)
    await start(devnet, ref)

    ticket = await guests.open_terminal(ref)
    socket = await guests.connect(ref, ticket)
    await socket.send_bytes(f"{ticket.user}:{ticket.ticket}\n".encode())
    first = await socket.receive(timeout=20)
    await socket.close()

    assert (first.type, first.data[:2]) == (WSMsgType.BINARY, b"OK")


async def test_a_vnc_server_opens_with_its_ticket(devnet: ProxmoxClient) -> None:
    guests, ref = Guests(devnet), await make(devnet)
    await start(devnet, ref)

    ticket = await guests.open_vnc(ref)
    socket = await guests.connect(ref, ticket)
    first = await socket.receive(timeout=20)
    await socket.close()

    assert first.data == b"RFB 003.008\n"
    assert len(ticket.password) == 8


async def test_a_ticket_of_another_guest_opens_nothing(devnet: ProxmoxClient) -> None:
    guests, ref = Guests(devnet), await make(devnet)
    other = await make(devnet)
    await start(devnet, ref)

    ticket = await guests.open_terminal(ref)

    with pytest.raises(errors.AuthenticationFailed):
        await guests.connect(other, ticket)


async def test_a_console_user_sees_one_guest_and_is_gone_afterwards(
    root: ProxmoxClient, root_options: ProxmoxOptions
) -> None:
    access, ref = Access(root), await make(root)
    await root.call("POST", "/access/roles", {"roleid": "Console", "privs": "VM.Console"})
    await access.create_user("lease-x@pve", "a long password")
    await access.grant("lease-x@pve", "Console", ref)
    user = ProxmoxOptions(
        host=root_options.host, username="lease-x@pve", password="a long password"
    )

    async with ProxmoxClient(user) as client:
        assert await Access(client).permissions_on(f"/vms/{ref.vmid}") == {"VM.Console"}
        assert (await Guests(client).open_vnc(ref)).user == "lease-x@pve"
        with pytest.raises(errors.PermissionDenied):
            await Guests(client).stop(ref)
        with pytest.raises(errors.PermissionDenied):
            await Guests(client).open_terminal(MISSING)
    await access.delete_user("lease-x@pve")

    with pytest.raises(errors.AuthenticationFailed):
        await access.login("lease-x@pve", "a long password")


async def test_a_wrong_token_is_refused(devnet_options: ProxmoxOptions) -> None:
    wrong = ProxmoxOptions(
        host=devnet_options.host, token_id="nobody@pve!none", token_secret="wrong"
    )
    async with ProxmoxClient(wrong) as client:
        with pytest.raises(errors.AuthenticationFailed):
            await Nodes(client).version()
