"""The interactive console, beside commands where the guest can do it, alone where it cannot."""

import asyncio
import gc
import weakref
from contextlib import AsyncExitStack

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import ASH, BASH, DASH, Consoles

from pve402.hub import errors
from pve402.hub import hub as hubs
from pve402.hub.console import ConsoleChannel
from pve402.hub.hub import Hub
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef

pytestmark = pytest.mark.namespaces


@pytest.fixture(params=[ASH, DASH, BASH], ids=["ash", "dash", "bash"])
def console_guest(request: pytest.FixtureRequest) -> GuestRef:
    return guest_consoles.guest(request.param)


async def test_typing_is_answered(hub: Hub, console_guest: GuestRef) -> None:
    console = await hub.open_console(console_guest, 90, 33)
    await console.write(b"stty size; echo $((6*7))x\r")
    text = await _read_until(console, b"42x")
    assert b"33 90" in text
    await console.write(b"exit\r")
    while await console.read() is not None:
        pass
    assert console.close_reason == "exit"


async def test_a_console_that_is_over_is_forgotten(
    hub: Hub, console_guest: GuestRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hubs, "TIDY_SECONDS", 0.05)
    console = await hub.open_console(console_guest, 80, 24)
    kept = weakref.ref(hub._consoles[console_guest])
    await console.write(b"exit\r")
    while await console.read() is not None:
        pass

    async with asyncio.timeout(20):
        while hub._consoles:  # noqa: ASYNC110 - only looking tells
            await asyncio.sleep(0.02)
    again = await hub.open_console(console_guest, 80, 24)
    await again.write(b"echo ne''w\r")

    assert b"new" in await _read_until(again, b"new")
    del console
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize("windows", [1, 3], ids=["one window", "three windows"])
async def test_a_console_refused_by_a_stopped_guest_opens_once_it_runs(
    chain: Consoles, monkeypatch: pytest.MonkeyPatch, windows: int
) -> None:
    monkeypatch.setattr(hubs, "TIDY_SECONDS", 0.05)
    guest = guest_consoles.guest(BASH)
    async with chain.hub() as hub:
        await chain.act(BASH, "stop")
        opening = [hub.open_console(guest, 80, 24) for _ in range(windows)]
        refused = await asyncio.gather(*opening, return_exceptions=True)
        assert [type(error) for error in refused] == [errors.GuestNotRunning] * windows
        async with asyncio.timeout(20):
            while guest in hub._guests or guest in hub._consoles:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
        with pytest.raises(errors.GuestNotRunning):
            await hub.check_console(guest)
        await chain.act(BASH, "start")

        console = await hub.open_console(guest, 80, 24)
        assert (await hub.exec(guest, ExecRequest(command="echo beside"))).stdout == b"beside\n"
        await console.write(b"echo th''ere\r")
        assert b"there" in await _read_until(console, b"there")
        assert hub.open_sessions == 1


async def test_colours_unicode_and_line_ends_are_unchanged(
    hub: Hub, console_guest: GuestRef
) -> None:
    console = await hub.open_console(console_guest, 80, 24)
    await console.write(rb"printf 'A\033[31mred\033[0m \303\274\346\274\242\n\tB\n.E''ND'" + b"\r")
    text = await _read_until(console, b".END")
    assert b"A\x1b[31mred\x1b[0m \xc3\xbc\xe6\xbc\xa2\r\n\tB\r\n.END" in text


async def test_control_keys_reach_the_program(hub: Hub, console_guest: GuestRef) -> None:
    console = await hub.open_console(console_guest, 80, 24)
    await _ready(console)
    await console.write(b"sleep 60\r")
    await asyncio.sleep(0.3)
    await console.write(b"\x03")
    await asyncio.sleep(0.2)
    await console.write(b"echo ba''ck\r")
    assert b"back" in await _read_until(console, b"back")


async def test_large_output_is_whole(hub: Hub, console_guest: GuestRef) -> None:
    console = await hub.open_console(console_guest, 80, 24)
    await _ready(console)
    await console.write(b"seq 1 20000; echo fin''ished\r")
    text = await _read_until(console, b"finished")
    assert "".join(f"{n}\r\n" for n in range(1, 20001)).encode() in text


async def test_paste_arrives_whole(hub: Hub, console_guest: GuestRef) -> None:
    console = await hub.open_console(console_guest, 80, 24)
    await _ready(console)
    await console.write(b"stty -echo; head -c 60000 >/tmp/paste; stty echo; echo rea''dy\r")
    await asyncio.sleep(0.5)
    await console.write(b"0123456789abcd\r" * 4000)
    await _read_until(console, b"ready")
    await console.write(b"tr -d '0-9a-d\\n' </tmp/paste | wc -c; wc -c </tmp/paste; echo do''ne\r")
    text = await _read_until(console, b"done")
    assert b"0\r\n60000\r\n" in text


@pytest.mark.parametrize("vmid", [DASH, BASH], ids=["dash", "bash"])
async def test_commands_run_beside_the_console(hub: Hub, vmid: int) -> None:
    guest = guest_consoles.guest(vmid)
    console = await hub.open_console(guest, 80, 24)
    await console.write(b"while :; do echo tick; sleep 0.01; done\r")
    data = bytes(range(256)) * 200
    runs = [hub.exec(guest, ExecRequest(command="cat", stdin=data)) for _ in range(3)]
    results = await asyncio.gather(*runs)
    assert {result.stdout for result in results} == {data}
    # bash goes on with its loop if the interrupt comes just as `sleep` ends by itself.
    for _ in range(5):
        await console.write(b"\x03")
        await asyncio.sleep(0.1)
    await console.write(b"echo af''ter\r")
    text = await _read_until(console, b"after")
    assert b"\x1b_" not in text
    assert set(text.replace(b"\r\n", b"\n").split(b"\n")) >= {b"tick"}


async def test_windows_share_one_shell(hub: Hub) -> None:
    guest = guest_consoles.guest(DASH)
    first = await hub.open_console(guest, 80, 24)
    await first.write(b"A=shared; echo set''up\r")
    await _read_until(first, b"setup")
    second = await hub.open_console(guest, 100, 30)
    await second.write(b"echo $A; stty size; echo fi''n\r")
    assert b"shared" in await _read_until(first, b"fin")
    text = await _read_until(second, b"fin")
    assert b"setup" in text
    assert b"30 100" in text


async def test_closed_window_can_come_back_to_the_same_shell(hub: Hub) -> None:
    guest = guest_consoles.guest(DASH)
    first = await hub.open_console(guest, 80, 24)
    await first.write(b"A=kept; echo set''up\r")
    await _read_until(first, b"setup")
    await first.close()
    assert await first.read() is None
    again = await hub.open_console(guest, 80, 24)
    await again.write(b"echo $A-again\r")
    assert b"kept-again" in await _read_until(again, b"kept-again")


async def test_console_without_a_tool_excludes_commands(hub: Hub) -> None:
    guest = guest_consoles.guest(ASH)
    await hub.open_console(guest, 80, 24)
    with pytest.raises(errors.ConsoleBusy):
        await hub.exec(guest, ExecRequest(command="true"))


async def test_commands_exclude_a_console_without_a_tool(hub: Hub) -> None:
    guest = guest_consoles.guest(ASH)
    await hub.start(guest, ExecRequest(command="sleep 30"))
    with pytest.raises(errors.ConsoleBusy):
        await hub.open_console(guest, 80, 24)


async def test_what_looks_like_the_end_is_not_believed(hub: Hub) -> None:
    guest = guest_consoles.guest(DASH)
    console = await hub.open_console(guest, 80, 24)
    await _ready(console)
    await console.write(rb"printf '\033[999H\r\n[EOF - dtach terminating]\r\n'" + b"\r")
    await _read_until(console, b"\n[EOF - dtach terminating]")
    await asyncio.sleep(2.0)
    await console.write(b"echo al''ive\r")
    assert b"alive" in await _read_until(console, b"alive")


async def test_guest_that_stops_closes_its_console(chain: Consoles) -> None:
    guest = guest_consoles.guest(BASH)
    async with chain.hub(heartbeat_seconds=0.3, silence_seconds=1.5) as hub:
        console = await hub.open_console(guest, 80, 24)
        await _ready(console)
        await chain.act(BASH, "stop")
        async with asyncio.timeout(10):
            while await console.read() is not None:
                pass
        await chain.act(BASH, "start")
    assert console.close_reason in {"session_lost", "exit"}


async def test_end_of_the_lease_closes_everything(hub: Hub) -> None:
    guest = guest_consoles.guest(DASH)
    console = await hub.open_console(guest, 80, 24)
    execution = await hub.start(guest, ExecRequest(command="sleep 60"))
    await hub.close_guest(guest)
    assert console.close_reason == "ended"
    with pytest.raises(errors.GuestClosed):
        await execution.wait()


async def test_reserved_terminal_keeps_the_hub_away(hub: Hub) -> None:
    guest = guest_consoles.guest(DASH)
    async with hub.reserve_terminal(guest, "vnc"):
        with pytest.raises(errors.ConsoleBusy):
            await hub.exec(guest, ExecRequest(command="true"))
    assert (await hub.exec(guest, ExecRequest(command="echo free"))).stdout == b"free\n"


@pytest.mark.parametrize("vmid", [ASH, DASH], ids=["alone", "beside commands"])
async def test_a_command_right_after_a_console_was_closed_runs(hub: Hub, vmid: int) -> None:
    console = await hub.open_console(guest_consoles.guest(vmid), 80, 24)
    await console.close()

    ran = await hub.exec(guest_consoles.guest(vmid), ExecRequest(command="echo free"))

    assert ran.stdout == b"free\n"


@pytest.mark.parametrize("holder", ["console", "vnc"])
async def test_a_command_waits_for_a_console_that_is_just_being_closed(
    hub: Hub, holder: str
) -> None:
    guest = guest_consoles.guest(ASH)
    async with AsyncExitStack() as holding:
        if holder == "vnc":
            await holding.enter_async_context(hub.reserve_terminal(guest, "vnc"))
        else:
            holding.push_async_callback((await hub.open_console(guest, 80, 24)).close)
        command = asyncio.create_task(hub.exec(guest, ExecRequest(command="echo free")))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not command.done()

    assert (await command).stdout == b"free\n"


async def test_a_picture_waits_for_a_terminal_that_is_just_being_closed(hub: Hub) -> None:
    guest = guest_consoles.guest(DASH)
    console = await hub.open_console(guest, 80, 24)
    async with AsyncExitStack() as holding:
        reserving = asyncio.create_task(
            holding.enter_async_context(hub.reserve_terminal(guest, "vnc"))
        )
        for _ in range(20):
            await asyncio.sleep(0)
        await console.close()
        await reserving

        with pytest.raises(errors.ConsoleBusy):
            await hub.exec(guest, ExecRequest(command="true"))


async def _ready(console: ConsoleChannel) -> None:
    await console.write(b"echo re''ady\r")
    await _read_until(console, b"ready")


async def _read_until(console: ConsoleChannel, mark: bytes) -> bytes:
    text = b""
    async with asyncio.timeout(20):
        while mark not in text:
            data = await console.read()
            assert data is not None, text
            text += data
    return text
