"""The variables of a lease reach everything that its tenant starts, in every shell, and no list."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest
import pytest_asyncio
from tests.support import guest_consoles
from tests.support.guest_consoles import BASH, DASH

from pve402.hub import errors, invocation, services
from pve402.hub.detached import DetachedPrograms
from pve402.hub.files import Files
from pve402.hub.hub import Hub
from pve402.hub.request import ExecRequest
from pve402.proxmox.guests import GuestRef

pytestmark = guest_consoles.SHARING_A_HUB

SECRET = "hunter2-'\"$(id)`\\\né%s"
#: With names that our own scripts use, and some that would break them.
GIVEN = {"TOKEN": SECRET, "HOME": "/tmp", "EMPTY": ""} | dict.fromkeys(
    "sNDYIcghpuLWQ", "one letter"
)
SHOW = 'printf "%s|" "$TOKEN" "$s" "$N" "$D" "$Y" "$I" "$c" "${EMPTY-unset}"'
SHOWN = f"{SECRET}|{'one letter|' * 6}|".encode()


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="hub")
async def _hub(chain_url: str) -> AsyncIterator[Hub]:
    async def find(_guest: GuestRef) -> Mapping[str, str]:
        return GIVEN

    async with guest_consoles.consoles(chain_url) as chain:
        chain.find_variables = find
        async with chain.hub(kill_after_seconds=1.0) as hub:
            yield hub


@pytest.mark.parametrize("user", ["", "nobody"])
async def test_a_command_gets_them(hub: Hub, any_guest: GuestRef, user: str) -> None:
    request = ExecRequest(command=SHOW, user=user, cwd="/tmp")

    result = await hub.exec(any_guest, request)

    assert (result.stdout, result.stderr, result.exit_code) == (SHOWN, b"", 0)


async def test_a_program_gets_them_and_its_own_win(hub: Hub, any_guest: GuestRef) -> None:
    request = ExecRequest(argv=("cat", "/proc/self/environ"), env={"s": "own", "MORE": "1"})

    result = await hub.exec(any_guest, request)

    shown = dict(line.split("=", 1) for line in result.stdout.decode().split("\0")[:-1])
    wanted = {**GIVEN, "s": "own", "MORE": "1"}
    assert {name: shown.get(name) for name in wanted} == wanted


async def test_a_detached_program_gets_them(hub: Hub, any_guest: GuestRef) -> None:
    programs = DetachedPrograms(hub)

    exec_id = await programs.start(any_guest, ExecRequest(command=SHOW))
    events = [event async for event in programs.follow(any_guest, exec_id)]
    await programs.delete(any_guest, exec_id)

    assert b"".join(event.data for event in events) == SHOWN


async def test_a_stream_gets_them(hub: Hub, any_guest: GuestRef) -> None:
    stream = await hub.open_stream(any_guest, ExecRequest(command=SHOW))
    stream.attach(0)
    stream.end_input()
    read = b""
    while not stream.is_over or stream.read(len(read)):
        changed = stream.changed
        piece = stream.read(len(read))
        if piece is None:
            await changed.wait()
        else:
            read += piece[1]
            stream.confirm(len(read))

    assert read == SHOWN


@pytest.mark.parametrize("vmid", [DASH, BASH])  # ash has no program that makes a terminal
async def test_the_shells_on_terminals_get_them(hub: Hub, vmid: int) -> None:
    guest = guest_consoles.guest(vmid)
    console = await hub.open_console(guest, 90, 33)
    # No letter of the answer is in what the terminal echoes.
    await console.write(b'stty size; echo "$TOKEN $N" | tr a-z n-za-m; exit\r')
    told = b""
    while (piece := await console.read()) is not None:
        told += piece

    assert b"uhagre2" in told
    assert b"bar yrggre" in told
    assert b"33 90" in told

    stream = await hub.open_stream(guest, services.shell(80, 24, {}, words=("sh", "-c", SHOW)))
    stream.attach(0)
    async with asyncio.timeout(20):
        while not stream.is_over:
            changed = stream.changed
            await changed.wait()
    piece = stream.read(0)
    assert piece is not None
    assert piece[1].replace(b"\r\n", b"\n") == SHOWN


async def test_no_list_of_processes_shows_them(hub: Hub, any_guest: GuestRef) -> None:
    everything = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"

    result = await hub.exec(any_guest, ExecRequest(command=everything))

    assert b"cat /proc" in result.stdout
    assert b"hunter2" not in result.stdout


async def test_the_file_is_for_root_alone(hub: Hub, any_guest: GuestRef) -> None:
    path = await hub.variables_file(any_guest)
    look = ExecRequest(command=f"cat {path}", user="nobody")

    assert (await hub.exec(any_guest, ExecRequest(command=f"grep -c TOKEN {path}"))).exit_code == 0
    assert (await hub.exec(any_guest, look)).stdout == b""


async def test_what_we_do_in_the_guest_does_not_get_them(chain_url: str, guest: GuestRef) -> None:
    async def find(_guest: GuestRef) -> Mapping[str, str]:
        return {"PATH": "/nowhere", "LD_PRELOAD": "/no/such.so"}

    async def body() -> AsyncIterator[bytes]:
        yield b"content"

    async with guest_consoles.consoles(chain_url) as chain:
        chain.find_variables = find
        async with chain.hub() as hub:
            lost = await hub.exec(guest, ExecRequest(command="ls"))
            await Files(hub).put_file(guest, "/tmp/variables-test", body())
            kept = await hub.exec(guest, ExecRequest(command="/bin/cat /tmp/variables-test"))

    assert lost.exit_code == 127
    assert kept.stdout == b"content"


async def test_they_are_read_once_a_session(chain_url: str, guest: GuestRef) -> None:
    asked: list[GuestRef] = []

    async def find(guest: GuestRef) -> Mapping[str, str]:
        asked.append(guest)
        await asyncio.sleep(0.05)
        return {"A": "1"}

    async with guest_consoles.consoles(chain_url) as chain:
        chain.find_variables = find
        async with chain.hub() as hub:
            say = ExecRequest(command='echo "$A"')
            results = await asyncio.gather(*(hub.exec(guest, say) for _ in range(3)))

    assert [result.stdout for result in results] == [b"1\n"] * 3
    assert asked == [guest]


async def test_a_request_is_turned_into_a_script_once(
    hub: Hub, any_guest: GuestRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [ExecRequest(command=f"true {number}") for number in range(3)]
    built: list[ExecRequest] = []
    real = invocation.build

    def build(request: ExecRequest) -> invocation.Invocation:
        if request in asked:
            built.append(request)
        return real(request)

    monkeypatch.setattr(invocation, "build", build)
    programs = DetachedPrograms(hub)
    await hub.exec(any_guest, asked[0])
    await hub.open_stream(any_guest, asked[1])
    exec_id = await programs.start(any_guest, asked[2])
    await programs.delete(any_guest, exec_id)

    assert built == asked


async def test_no_command_runs_without_them(chain_url: str, guest: GuestRef) -> None:
    async def find(_guest: GuestRef) -> Mapping[str, str]:
        raise errors.SessionFailed("not now")

    async with guest_consoles.consoles(chain_url) as chain:
        chain.find_variables = find
        async with chain.hub() as hub:
            with pytest.raises(errors.SessionFailed, match="not now"):
                await hub.exec(guest, ExecRequest(command="touch /tmp/ran-without"))
            chain.find_variables = find
            assert not hub.executions(guest)
