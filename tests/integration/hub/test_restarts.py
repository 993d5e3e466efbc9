"""Guests that stop, reboot or break under a command, and a server that is killed."""

import asyncio
import signal
import subprocess
import sys

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import ASH, BASH, DASH, Consoles

from pve402.hub import errors
from pve402.hub.detached import DetachedPrograms
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef

pytestmark = pytest.mark.namespaces

SERVER = """
import asyncio, sys
from pve402.hub.detached import DetachedPrograms
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef
from tests.support import guest_consoles

async def main(url, vmid):
    guest = guest_consoles.guest(int(vmid))
    async with guest_consoles.consoles(url) as chain, chain.hub() as hub:
        detached = await DetachedPrograms(hub).start(
            guest, ExecRequest(command="for i in 1 2 3 4 5 6; do echo $i; sleep 0.3; done; exit 6"))
        await hub.start(guest, ExecRequest(command="while :; do echo flood; sleep 0.01; done"))
        print(detached, flush=True)
        await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("vmid", [ASH, DASH, BASH], ids=["ash", "dash", "bash"])
async def test_killed_server_leaves_nothing_the_next_one_stumbles_over(
    chain: Consoles, vmid: int
) -> None:
    guest = guest_consoles.guest(vmid)
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, chain.url, str(vmid), stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    exec_id = (await _last_line(server.stdout)).decode().strip()
    server.send_signal(signal.SIGKILL)
    await server.wait()
    async with chain.hub() as hub:
        assert (await hub.exec(guest, ExecRequest(command="echo back"))).stdout == b"back\n"
        programs = DetachedPrograms(hub)
        output = [event.data async for event in programs.follow(guest, exec_id)]
        assert b"".join(output) == b"1\n2\n3\n4\n5\n6\n"
        assert (await programs.get(guest, exec_id)).exit_code == 6
        await programs.delete(guest, exec_id)


@pytest.mark.parametrize("action", ["stop", "reboot"])
async def test_guest_that_ends_under_a_command(chain: Consoles, action: str) -> None:
    guest = guest_consoles.guest(ASH)
    async with chain.hub(heartbeat_seconds=0.5, silence_seconds=2.0) as hub:
        execution = await hub.start(guest, ExecRequest(command="echo up; sleep 60"))
        await asyncio.sleep(0.3)
        await chain.act(ASH, action)
        with pytest.raises(errors.SessionLost) as caught:
            async with asyncio.timeout(10):
                await execution.wait()
        assert caught.value.exec_id == execution.exec_id
        if action == "stop":
            with pytest.raises(errors.GuestNotRunning):
                await hub.exec(guest, ExecRequest(command="true"))
            await chain.act(ASH, "start")
        assert (await hub.exec(guest, ExecRequest(command="echo up"))).stdout == b"up\n"


async def test_guest_that_rebooted_while_idle(chain: Consoles) -> None:
    guest = guest_consoles.guest(ASH)
    async with chain.hub() as hub:
        await hub.exec(guest, ExecRequest(command="true"))
        await chain.act(ASH, "reboot")
        await asyncio.sleep(0.2)
        assert (await hub.exec(guest, ExecRequest(command="echo up"))).stdout == b"up\n"


async def test_command_that_kills_our_program(chain: Consoles) -> None:
    guest = guest_consoles.guest(DASH)
    async with chain.hub(heartbeat_seconds=0.5, silence_seconds=2.0) as hub:
        with pytest.raises(errors.SessionLost):
            async with asyncio.timeout(15):
                await hub.exec(guest, ExecRequest(command="kill -KILL -1; sleep 30"))
        assert (await hub.exec(guest, ExecRequest(command="echo up"))).stdout == b"up\n"


async def test_idle_session_is_closed_and_opened_again(chain: Consoles) -> None:
    guest = guest_consoles.guest(BASH)
    async with chain.hub(idle_seconds=0.1) as hub:
        await hub.exec(guest, ExecRequest(command="true"))
        async with asyncio.timeout(10):
            while hub.open_sessions:  # noqa: ASYNC110 - only looking tells
                await asyncio.sleep(0.05)
        assert (await hub.exec(guest, ExecRequest(command="echo up"))).stdout == b"up\n"


async def test_sessions_of_a_node_are_bounded_and_the_idle_one_makes_room(
    chain: Consoles,
) -> None:
    async with chain.hub(max_sessions_per_node=1) as hub:
        first, second = guest_consoles.guest(DASH), guest_consoles.guest(BASH)
        await hub.exec(first, ExecRequest(command="true"))
        await hub.exec(second, ExecRequest(command="true"))
        assert hub.open_sessions == 1
        await hub.start(second, ExecRequest(command="sleep 30"))
        with pytest.raises(errors.TooManySessions):
            await hub.exec(first, ExecRequest(command="true"))


async def _last_line(stream: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(20):
        while line := await stream.readline():
            if line.startswith(b"e"):
                return line
    raise AssertionError("the server said nothing")


async def test_a_client_that_stays_away_ends_the_stdin(
    chain: Consoles, any_guest: GuestRef
) -> None:
    async with chain.hub(absence_seconds=0.2) as hub:
        stream = await hub.open_stream(any_guest, ExecRequest(command="cat; exit 7"))
        stream.detach(stream.attach(0))
        assert await stream.wait_over(20)
        assert stream.exit_code == 7
        # It is forgotten right after its end.
        await hub.exec(any_guest, ExecRequest(command="true"))
        with pytest.raises(errors.StreamNotFound):
            await hub.find_stream(any_guest, stream.stream_id)
