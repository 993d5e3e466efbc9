"""Scripts that run once in a new guest, in real shells: begun once, whoever asks."""

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import ASH, DASH, Consoles

from pve402.hub.detached import DetachedPrograms
from pve402.hub.hub import Hub, new_exec_id
from pve402.hub.request import ExecRequest
from pve402.hub.start_scripts import Seen, Standing, StartScripts
from pve402.proxmox.guests import GuestRef

pytestmark = pytest.mark.namespaces

OVER = {Standing.EXITED, Standing.LOST, Standing.NO_ROOM}


@pytest.fixture
def run() -> str:
    return f"l{secrets.token_hex(12)}"


@pytest.fixture
async def scripts(hub: Hub) -> AsyncIterator[StartScripts]:
    made = DetachedPrograms(hub)
    yield StartScripts(hub, made)
    for vmid in guest_consoles.SHELLS.values():
        guest = guest_consoles.guest(vmid)
        if hub.executions(guest):
            for each in await made.list(guest):
                await made.delete(guest, each.exec_id)


async def ended(scripts: StartScripts, guest: GuestRef, run: str, exec_id: str) -> Seen:
    for _ in range(400):
        if (seen := await scripts.look(guest, run, exec_id)).standing in OVER:
            return seen
        await asyncio.sleep(0.05)
    raise TimeoutError(seen)


async def text(hub: Hub, guest: GuestRef, command: str) -> str:
    return (await hub.exec(guest, ExecRequest(command=command))).stdout.decode()


async def test_a_script_runs_and_its_end_is_known(
    hub: Hub, scripts: StartScripts, any_guest: GuestRef, run: str
) -> None:
    exec_id = new_exec_id()
    script = b"echo out 'hunter2'; echo err >&2; read x || echo no input; umask; pwd; exit 7\n"
    before = await scripts.look(any_guest, run, exec_id)

    await scripts.begin(any_guest, run, exec_id, script)
    seen = await ended(scripts, any_guest, run, exec_id)

    output = await scripts.output(any_guest, exec_id, 1000)
    home = (await text(hub, any_guest, "cd; pwd")).strip()
    assert before == Seen(standing=Standing.NOT_BEGUN, exec_id=exec_id)
    assert seen == Seen(standing=Standing.EXITED, exec_id=exec_id, exit_code=7)
    assert output.decode() == f"out hunter2\nerr\nno input\n0022\n{home}\n"
    assert await scripts.output(any_guest, exec_id, 5) == output[-5:]
    left = await text(hub, any_guest, f"ls /var/lib/pve402 | grep {run}")
    assert left == f"{run}.run\n"


@pytest.mark.parametrize(
    ("script", "code", "output"),
    [
        (b"#!/bin/cat\nitself\n", 0, b"#!/bin/cat\nitself\n"),
        (b"#!/no/such/program\n", 127, b"not found"),
        (b"if then\n", 2, b"yntax error"),
        (b"kill -KILL $$", 137, b"illed"),
        ("echo é\n".encode(), 0, "é\n".encode()),
    ],
    ids=["itself", "no interpreter", "bad syntax", "killed", "letters"],
)
async def test_it_is_run_as_it_says(
    scripts: StartScripts, guest: GuestRef, run: str, script: bytes, code: int, output: bytes
) -> None:
    exec_id = new_exec_id()

    await scripts.begin(guest, run, exec_id, script)

    assert (await ended(scripts, guest, run, exec_id)).exit_code == code
    assert output in await scripts.output(guest, exec_id, 1000)


async def test_no_list_of_processes_shows_it(
    scripts: StartScripts, any_guest: GuestRef, run: str
) -> None:
    exec_id = new_exec_id()
    script = b"# hunter2\ncat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '\n"

    await scripts.begin(any_guest, run, exec_id, script)
    await ended(scripts, any_guest, run, exec_id)

    shown = await scripts.output(any_guest, exec_id, 32 * 1024)
    assert run.encode() in shown
    assert b"hunter2" not in shown


async def test_of_all_who_ask_one_runs_it(
    hub: Hub, scripts: StartScripts, any_guest: GuestRef, run: str
) -> None:
    ids = [new_exec_id() for _ in range(4)]
    script = f"echo ran >>/tmp/{run}; sleep 0.3; exit 3".encode()

    await asyncio.gather(*(scripts.begin(any_guest, run, each, script) for each in ids))
    seen = [await ended(scripts, any_guest, run, each) for each in ids]

    assert await text(hub, any_guest, f"cat /tmp/{run}") == "ran\n"
    assert {each.exit_code for each in seen} == {3}
    (winner,) = {each.exec_id for each in seen}
    assert winner in ids


@pytest.mark.parametrize("vmid", [ASH, DASH])
async def test_a_restart_does_not_run_it_again(chain: Consoles, vmid: int, run: str) -> None:
    guest, first, second = guest_consoles.guest(vmid), new_exec_id(), new_exec_id()
    script = f"echo ran >>/root/{run}; sleep 60".encode()
    async with chain.hub() as hub:
        scripts = StartScripts(hub, DetachedPrograms(hub))
        await scripts.begin(guest, run, first, script)
        for _ in range(200):
            if (await scripts.look(guest, run, first)).standing is Standing.RUNNING:
                break
            await asyncio.sleep(0.05)
    await chain.act(vmid, "reboot")

    async with chain.hub() as hub:
        scripts = StartScripts(hub, DetachedPrograms(hub))
        seen = await scripts.look(guest, run, first)
        await scripts.begin(guest, run, second, script)
        await asyncio.sleep(0.5)
        again = await scripts.look(guest, run, second)
        ran = await text(hub, guest, f"cat /root/{run}")

    assert (seen.standing, again.standing, ran) == (Standing.LOST, Standing.LOST, "ran\n")


async def test_without_room_for_the_mark_nothing_is_run(
    hub: Hub, scripts: StartScripts, guest: GuestRef, run: str
) -> None:
    exec_id = new_exec_id()
    await text(
        hub, guest, "mv /var/lib/pve402 /var/lib/aside; mkdir -p /var/lib; : >/var/lib/pve402"
    )
    try:
        await scripts.begin(guest, run, exec_id, f"echo ran >/tmp/{run}".encode())
        seen = await ended(scripts, guest, run, exec_id)
    finally:
        await text(hub, guest, "rm /var/lib/pve402; mv /var/lib/aside /var/lib/pve402")

    assert seen.standing is Standing.NO_ROOM
    assert await text(hub, guest, f"cat /tmp/{run}") == ""


async def test_the_end_of_a_long_output_is_kept(
    scripts: StartScripts, any_guest: GuestRef, run: str
) -> None:
    exec_id = new_exec_id()
    script = b"yes 0123456789abcdef | head -n 100000\necho the end\n"

    await scripts.begin(any_guest, run, exec_id, script)
    seen = await ended(scripts, any_guest, run, exec_id)

    output = await scripts.output(any_guest, exec_id, 32 * 1024)
    assert seen.truncated
    assert len(output) == 32 * 1024
    assert output.endswith(b"0123456789abcdef\nthe end\n")


async def test_a_server_that_it_leaves_behind_does_not_keep_it(
    scripts: StartScripts, guest: GuestRef, run: str
) -> None:
    exec_id = new_exec_id()

    await scripts.begin(guest, run, exec_id, b"sleep 20 & echo begun; exit 4")
    async with asyncio.timeout(10):
        seen = await ended(scripts, guest, run, exec_id)

    assert (seen.exit_code, await scripts.output(guest, exec_id, 100)) == (4, b"begun\n")


@pytest.mark.parametrize("after_seconds", [0.0, 0.03, 0.1, 0.2, 0.4])
async def test_whoever_is_cut_off_the_next_one_finds_out(
    chain: Consoles, guest: GuestRef, run: str, after_seconds: float
) -> None:
    script = f"echo ran >>/tmp/{run}; exit 6".encode()
    exec_id = new_exec_id()
    async with chain.hub() as hub:
        await hub.session(guest)
        scripts = StartScripts(hub, DetachedPrograms(hub))
        asking = asyncio.create_task(scripts.begin(guest, run, exec_id, script))
        await asyncio.sleep(after_seconds)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    async with chain.hub() as hub:
        scripts = StartScripts(hub, DetachedPrograms(hub))
        for number in range(100):
            seen = await scripts.look(guest, run, exec_id)
            if seen.standing in OVER:
                break
            is_stuck = seen.standing is Standing.BEGINNING and number % 10 == 9
            if seen.standing is Standing.NOT_BEGUN or is_stuck:
                exec_id = new_exec_id()
                await scripts.begin(guest, run, exec_id, script)
            await asyncio.sleep(0.1)
        ran = await text(hub, guest, f"cat /tmp/{run}")

    assert ran in {"ran\n", ""}
    assert (seen.standing is Standing.EXITED and seen.exit_code == 6) <= (ran == "ran\n")
    assert seen.standing in {Standing.EXITED, Standing.LOST}
