"""Sessions recorded on Proxmox VE 9.2, played again: the same bytes in the same order."""

import asyncio
import re

import pytest
from devnet.tests.integration.terminal.conftest import Bench, Serve
from devnet.tests.support.console_client import Console, Frame, transcript
from devnet.tests.support.guests import spec

from pve402_devnet.terminal.manners import SessionEnd, TerminalManners

pytestmark = pytest.mark.namespaces

# What differs by the version of busybox alone.
_BANNER = re.compile(rb"BusyBox v[^ ]+ \([^)]*\)")
_OPEN = TerminalManners(end=SessionEnd.STAYS_OPEN)
_DROP = TerminalManners(end=SessionEnd.DROPS)


async def play(bench: Bench, vmid: int, frames: tuple[Frame, ...]) -> Console:
    """Send the client's frames when all that came before them has arrived; compare it."""
    console = await bench.client.connect(vmid)
    expected = b""
    for frame in frames:
        if not frame.sent_by_client and frame.opcode == 2:
            expected += frame.payload
            continue
        if not frame.sent_by_client and frame.opcode == 10:
            await expect_pong(console, frame.payload)
            continue
        await expect(console, expected)
        expected = b""
        await act(bench, vmid, console, frame)
    await expect(console, expected)
    return console


async def expect(console: Console, expected: bytes) -> None:
    wanted = _BANNER.sub(b"", expected)
    seen = b""
    while len(seen) < len(wanted):
        more = await console.read_bytes(1)
        if not more:
            break
        seen = _BANNER.sub(b"", seen + more)
    assert seen == wanted


async def expect_pong(console: Console, payload: bytes) -> None:
    await console.read_quiet()
    assert console.pongs.pop(0) == payload


async def act(bench: Bench, vmid: int, console: Console, frame: Frame) -> None:
    if frame.event == "tcp closed":
        assert await console.wait_closed() == b""
    elif "POST status/stop" in frame.event:
        await bench.runtime.stop(vmid)
    elif frame.opcode == 9:
        await console.socket.ping(frame.payload)
    elif frame.opcode == 8:
        await console.socket.close()
        console.closed = True
    elif frame.opcode == 2 and b"<secret>" in frame.payload:
        await console.authenticate()
    elif frame.opcode == 2:
        await console.send(frame.payload)


async def test_a_session_from_banner_to_exit(serve: Serve) -> None:
    async with serve(_OPEN) as bench:
        await play(bench, 140, transcript("1-echo"))


async def test_the_container_is_stopped_while_a_command_runs(serve: Serve) -> None:
    async with serve(_DROP) as bench:
        await play(bench, 140, transcript("2-stopped"))


async def test_a_console_of_a_stopped_container(serve: Serve) -> None:
    async with serve(_OPEN, ct141=spec()) as bench:
        await bench.runtime.stop(141)
        await play(bench, 141, transcript("3-open-on-stopped"))


async def test_a_console_of_a_stopped_container_in_mode_tty(serve: Serve) -> None:
    async with serve(_DROP, ct142=spec(cmode="tty")) as bench:
        await bench.runtime.stop(142)
        await play(bench, 142, transcript("3b-open-on-stopped-tty"))


async def test_a_wrong_first_line(serve: Serve) -> None:
    async with serve(_OPEN) as bench:
        await play(bench, 140, transcript("4-bad-auth-line"))
        assert bench.logs[-1] == "authentication request failed"


async def test_vnc_up_to_the_challenge(serve: Serve) -> None:
    frames = transcript("5-vncproxy-rfb")
    async with serve(_OPEN) as bench:
        console = await bench.client.connect(140, "vncproxy", websocket=1)
        for frame in frames[:-1]:
            if frame.sent_by_client:
                await console.send(frame.payload)
            else:
                assert await console.read_bytes(len(frame.payload)) == frame.payload
        assert len(await console.read_bytes(16)) == 16


async def test_utf8_and_large_output_in_a_session_that_was_there_before(serve: Serve) -> None:
    async with serve(_OPEN) as bench:
        before = await bench.client.open(140)
        await before.send(b"1:100:30:")
        await before.read_quiet()
        await before.close()
        await play(bench, 140, transcript("6-utf8-large"))


async def test_the_client_leaves_and_the_next_finds_the_command_running(serve: Serve) -> None:
    async with serve(_OPEN) as bench:
        await play(bench, 140, transcript("7-client-close"))
        await play(bench, 140, transcript("8-reattach"))


async def test_the_socket_stays_open_after_exit_until_data_is_sent(serve: Serve) -> None:
    frames = transcript("9-exit-and-wait")
    async with serve(_OPEN) as bench:
        console = await play(bench, 140, frames[:-3])
        await console.send(b"2")
        await console.send(b"1:90:30:")
        await asyncio.sleep(0.2)
        assert not console.closed
        await console.send(frames[-2].payload)
        assert await console.wait_closed() == b""
        assert bench.logs[-1] == "error reading from pty: Input/output error (os error 5)"
