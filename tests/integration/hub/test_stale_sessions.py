"""Whatever was left on the terminal is recovered, or it is said clearly that it cannot be."""

import asyncio

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import ASH, BASH, DASH, Consoles

from pve402.hub import errors
from pve402.hub.request import ExecRequest
from pve402.proxmox.termproxy import input_packet

pytestmark = pytest.mark.namespaces

LEFT_BEHIND = {
    "half-typed": (b"rm -rf /half-typed",),
    "single-quote": (b"echo 'open\n",),
    "double-quote": (b'echo "open\n',),
    "heredoc": (b"cat <<END\n", b"text\n"),
    "loop": (b"while :; do\n",),
    "cat": (b"cat\n", b"text\n"),
    "sleep": (b"sleep 300\n",),
    "flood": (b"yes\n",),
    "vi": (b"vi /tmp/stale\n", b"itext"),
    "echo-off": (b"stty -echo\n",),
    "no-interrupt": (b"trap '' INT; sleep 300\n",),
    "background-noise": (b"(while :; do echo noise; sleep 0.05; done) &\n",),
    "nested-shell": (b"sh\n", b"sh -c 'sleep 200'\n"),
    "stopped-job": (b"sleep 300\n", b"\x1a"),
}


@pytest.mark.parametrize("messages", LEFT_BEHIND.values(), ids=LEFT_BEHIND)
@pytest.mark.parametrize("vmid", [ASH, DASH, BASH], ids=["ash", "dash", "bash"])
async def test_next_session_recovers(
    chain: Consoles, vmid: int, messages: tuple[bytes, ...]
) -> None:
    await chain.type_and_leave(vmid, *messages)
    async with chain.hub() as hub:
        result = await hub.exec(guest_consoles.guest(vmid), ExecRequest(command="echo back"))
        assert result.stdout == b"back\n"
        if b"noise" in messages[0]:
            await _end_noise(hub, vmid)


@pytest.mark.parametrize(
    "program", ["top", "less /etc/services", "python3", "vi", "bash", "man sh"]
)
async def test_next_session_recovers_from_full_programs(chain: Consoles, program: str) -> None:
    await chain.type_and_leave(BASH, f"{program}\n".encode(), pause=0.6)
    async with chain.hub() as hub:
        result = await hub.exec(guest_consoles.guest(BASH), ExecRequest(command="echo back"))
    assert result.stdout == b"back\n"


async def test_our_own_stale_program_quits_and_its_commands_end(chain: Consoles) -> None:
    guest = guest_consoles.guest(DASH)
    first = chain.hub()
    lost = await first.__aenter__()
    execution = await lost.start(guest, ExecRequest(command="echo $$; sleep 91.5"))
    await asyncio.sleep(0.3)
    session = await lost.session(guest)
    await session.close(quit_agent=False)
    with pytest.raises(errors.SessionLost) as caught:
        await execution.wait()
    assert caught.value.exec_id == execution.exec_id
    async with chain.hub() as hub:
        look = ExecRequest(
            command=r"cat /proc/[0-9]*/cmdline | tr '\0' ' ' | grep -c 'sleep [9]1.5'"
        )
        assert (await hub.exec(guest, look)).stdout == b"0\n"
        left = await hub.exec(guest, ExecRequest(command="ls -d /run/.pve402-s-* | wc -l"))
        assert left.stdout.strip() == b"1"
    await first.__aexit__(None, None, None)


async def test_raw_program_that_reads_everything_is_reported(chain: Consoles) -> None:
    guest = guest_consoles.guest(DASH)
    await chain.type_and_leave(DASH, b"stty raw; cat >/dev/null\n")
    async with chain.hub() as hub:
        with pytest.raises(errors.TerminalStuck):
            await hub.exec(guest, ExecRequest(command="true"))
        await chain.act(DASH, "stop")
        await chain.act(DASH, "start")
        assert (await hub.exec(guest, ExecRequest(command="echo up"))).stdout == b"up\n"


async def test_second_client_is_noticed_and_survived(chain: Consoles) -> None:
    guest = guest_consoles.guest(BASH)
    async with chain.hub() as hub:
        await hub.exec(guest, ExecRequest(command="true"))
        session = await hub.session(guest)
        stranger = await chain.attach(BASH)
        await stranger.send(input_packet(b"ls -l\r"))
        await asyncio.sleep(0.3)
        result = await hub.exec(guest, ExecRequest(command="echo still"))
        assert result.stdout == b"still\n"
        assert session.is_tainted
        await stranger.close()
        assert (await hub.exec(guest, ExecRequest(command="echo new"))).stdout == b"new\n"
        assert await hub.session(guest) is not session


async def test_stranger_typing_into_our_lines_damages_nothing(chain: Consoles) -> None:
    guest = guest_consoles.guest(DASH)
    async with chain.hub() as hub:
        await hub.exec(guest, ExecRequest(command="true"))
        stranger = await chain.attach(DASH)
        typing = asyncio.create_task(_type_on(stranger))
        data = bytes(range(256)) * 100
        result = await hub.exec(guest, ExecRequest(command="cat", stdin=data))
        typing.cancel()
        await stranger.close()
    assert result.stdout == data


async def test_holes_in_the_output_fail_that_command_alone(chain: Consoles) -> None:
    guest = guest_consoles.guest(DASH)
    async with chain.hub() as hub:
        await hub.exec(guest, ExecRequest(command="true"))
        stranger = await chain.attach(DASH)
        big = ExecRequest(command="head -c 4000000 /dev/zero", output_limit_bytes=8_000_000)
        execution = await hub.start(guest, big)
        last = [event async for event in execution.follow()][-1]
        whole = last.result is not None and last.result.stdout == bytes(4_000_000)
        assert whole or isinstance(last.error, errors.SessionFailed)
        await stranger.close()
        assert (await hub.exec(guest, big)).stdout == bytes(4_000_000)


async def _type_on(stranger: guest_consoles.WebSocketTerminal) -> None:
    while True:
        await stranger.send(input_packet(b"x"))
        await asyncio.sleep(0.03)


async def _end_noise(hub: guest_consoles.Hub, vmid: int) -> None:
    """End the loop, which is the parent of what it waits for; it would go on for the session."""
    script = """
        for process in /proc/[0-9]*; do
            case $(tr '\\0' ' ' <$process/cmdline) in "sleep 0.05 ")
                read -r _ _ _ parent _ <$process/stat && kill "$parent" && echo ended
            esac
        done
    """
    for _ in range(20):  # it may have been between two of them
        ended = await hub.exec(guest_consoles.guest(vmid), ExecRequest(command=script))
        if ended.stdout:
            return
    raise AssertionError("the noise goes on")
