"""What must hold of every command, in every shell, over the chain with all its manners."""

import asyncio

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import shared_hub  # noqa: F401

from pve402.hub import errors
from pve402.hub.hub import Hub
from pve402.hub.request import EventKind, ExecRequest
from pve402.proxmox.guests import GuestRef

pytestmark = guest_consoles.SHARING_A_HUB

ALL_BYTES = bytes(range(256))


async def test_streams_and_exit_code_are_separate(hub: Hub, any_guest: GuestRef) -> None:
    request = ExecRequest(command="echo out; echo err >&2; exit 3")
    result = await hub.exec(any_guest, request)
    assert (result.stdout, result.stderr, result.exit_code) == (b"out\n", b"err\n", 3)
    assert sorted(result.output) == sorted(b"out\nerr\n")
    assert not result.timed_out
    assert not result.truncated


async def test_seed_form_passes_extra_arguments(hub: Hub, guest: GuestRef) -> None:
    request = ExecRequest(command="printf '%s|'", extra_args=("a b", "c'd", "-p", "x\ny", "é", ""))
    result = await hub.exec(guest, request)
    assert result.stdout == "a b|c'd|-p|x\ny|é||".encode()


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        ("/etc/passwd", 126),
        ("no-such-command-here", 127),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
        ("exit 255", 255),
        ("if", 2),
        ("", 0),
    ],
)
async def test_exit_codes(hub: Hub, any_guest: GuestRef, command: str, exit_code: int) -> None:
    assert (await hub.exec(any_guest, ExecRequest(command=command))).exit_code == exit_code


async def test_argv_needs_no_shell(hub: Hub, guest: GuestRef) -> None:
    found = await hub.exec(guest, ExecRequest(argv=("printf", "%s", '$HOME `id` "x" \\n')))
    assert found.stdout == b'$HOME `id` "x" \\n'
    missing = await hub.exec(guest, ExecRequest(argv=("no-such-program",)))
    assert missing.exit_code == 127


async def test_all_bytes_pass_both_ways(hub: Hub, any_guest: GuestRef) -> None:
    data = ALL_BYTES * 24 + b"\r\n\n\r--%\\'" + ALL_BYTES[::-1]
    result = await hub.exec(any_guest, ExecRequest(command="cat", stdin=data))
    assert result.stdout == data


async def test_line_ends_are_unchanged(hub: Hub, any_guest: GuestRef) -> None:
    request = ExecRequest(command=r"printf '\r\n\n\r\r\n\033_x\033\\'")
    assert (await hub.exec(any_guest, request)).stdout == b"\r\n\n\r\r\n\x1b_x\x1b\\"


async def test_commands_of_any_text(hub: Hub, any_guest: GuestRef) -> None:
    text = "printf '%s' \"tab\there 'quoted' ü€😀 %d \\\\ \" # comment\necho; echo \"$#\""
    result = await hub.exec(any_guest, ExecRequest(command=text))
    assert result.stdout.decode() == "tab\there 'quoted' ü€😀 %d \\ \n0\n"


async def test_long_command(hub: Hub, any_guest: GuestRef) -> None:
    words = "x" * 30_000 + "ü'\n" * 200
    result = await hub.exec(any_guest, ExecRequest(argv=("printf", "%s", words)))
    assert result.stdout == words.encode()


async def test_environment_directory_and_user(hub: Hub, any_guest: GuestRef) -> None:
    request = ExecRequest(
        command='echo "$A|$PWD|$(id -u)|$HOME"', env={"A": "x'y\nz"}, cwd="/tmp", user="nobody"
    )
    result = await hub.exec(any_guest, request)
    fields = result.stdout.decode().strip().split("|")
    assert fields[:2] == ["x'y\nz", "/tmp"]
    assert fields[2] != "0"
    assert fields[3] != "/root"


async def test_missing_directory_and_user_are_answers(hub: Hub, guest: GuestRef) -> None:
    nowhere = await hub.exec(guest, ExecRequest(command="true", cwd="/no/such"))
    assert (nowhere.exit_code, b"/no/such" in nowhere.stderr) == (126, True)
    nobody = await hub.exec(guest, ExecRequest(command="true", user="no-such-user"))
    assert nobody.exit_code == 126


async def test_no_terminal_no_prompt_no_nonce(hub: Hub, any_guest: GuestRef) -> None:
    script = "tty <&0; (: </dev/tty) 2>/dev/null && echo has-tty; env; ls -l /proc/self/fd"
    result = await hub.exec(any_guest, ExecRequest(command=script))
    text = result.output.decode()
    assert "has-tty" not in text
    assert "pts" not in text
    assert "LC_ALL" not in text
    assert "LANG=C.UTF-8" in text


async def test_nul_is_refused(hub: Hub, guest: GuestRef) -> None:
    with pytest.raises(errors.RequestRefused):
        await hub.exec(guest, ExecRequest(command="echo a\0b"))


async def test_time_limit_ends_the_whole_group(hub: Hub, any_guest: GuestRef) -> None:
    script = "trap '' TERM; sleep 77.5 & sleep 77.5; wait"
    result = await hub.exec(any_guest, ExecRequest(command=script, timeout_seconds=0.4))
    assert (result.exit_code, result.timed_out) == (137, True)
    look = ExecRequest(command=r"cat /proc/[0-9]*/cmdline | tr '\0' ' ' | grep -c 'sleep [7]7'")
    assert (await hub.exec(any_guest, look)).stdout == b"0\n"


async def test_time_limit_lets_a_program_tidy_up(hub: Hub, any_guest: GuestRef) -> None:
    script = "trap 'echo tidy; exit 9' TERM; sleep 30 & wait"
    result = await hub.exec(any_guest, ExecRequest(command=script, timeout_seconds=0.4))
    assert (result.stdout, result.exit_code, result.timed_out) == (b"tidy\n", 9, True)


async def test_background_job_does_not_hold_the_answer(hub: Hub, any_guest: GuestRef) -> None:
    request = ExecRequest(command="sleep 60 & echo hi; exit 4", timeout_seconds=20)
    result = await hub.exec(any_guest, request)
    assert (result.stdout, result.exit_code, result.timed_out) == (b"hi\n", 4, False)


async def test_output_beyond_the_limit_is_dropped(hub: Hub, any_guest: GuestRef) -> None:
    request = ExecRequest(command="yes | head -c 3000000; echo end >&2", output_limit_bytes=1000)
    result = await hub.exec(any_guest, request)
    assert (len(result.output), result.truncated, result.exit_code) == (1000, True, 0)


async def test_endless_output_is_ended_by_the_limit(hub: Hub, any_guest: GuestRef) -> None:
    request = ExecRequest(command="yes", output_limit_bytes=1000, timeout_seconds=1)
    result = await hub.exec(any_guest, request)
    assert (len(result.output), result.truncated, result.timed_out) == (1000, True, True)


async def test_eight_at_once_are_intact(hub: Hub, any_guest: GuestRef) -> None:
    expected = "".join(f"{n}\n" for n in range(1, 2001)).encode()
    runs = (hub.exec(any_guest, ExecRequest(command="seq 1 2000")) for _ in range(8))
    assert {result.stdout for result in await asyncio.gather(*runs)} == {expected}


async def test_large_output_is_intact(hub: Hub, any_guest: GuestRef) -> None:
    script = "seq 1 200000 | tee /tmp/seq | md5sum; cat /tmp/seq; rm /tmp/seq"
    request = ExecRequest(command=script, output_limit_bytes=4_000_000)
    result = await hub.exec(any_guest, request)
    expected = "".join(f"{n}\n" for n in range(1, 200001)).encode()
    assert result.stdout.partition(b"\n")[2] == expected


async def test_too_many_commands(hub: Hub, guest: GuestRef) -> None:
    sleep, true = ExecRequest(command="sleep 30"), ExecRequest(command="true")
    begun = [await hub.start(guest, sleep) for _ in range(hub.options.max_commands)]
    with pytest.raises(errors.TooManyCommands):
        await hub.exec(guest, true)
    for execution in begun:
        execution.cancel()
        await execution.wait()
    assert (await hub.exec(guest, true)).exit_code == 0


async def test_unread_stdin_blocks_nobody(hub: Hub, any_guest: GuestRef) -> None:
    stuck = await hub.start(
        any_guest, ExecRequest(command="sleep 30", stdin=b"x" * 200_000, timeout_seconds=30)
    )
    result = await hub.exec(any_guest, ExecRequest(command="cat", stdin=b"free"))
    assert result.stdout == b"free"
    stuck.cancel()
    assert (await stuck.wait()).exit_code == 143


async def test_program_that_closes_stdin(hub: Hub, any_guest: GuestRef) -> None:
    request = ExecRequest(command="head -c 3; exec <&-; sleep 0.3", stdin=b"abc" * 50_000)
    result = await hub.exec(any_guest, request)
    assert (result.stdout, result.exit_code) == (b"abc", 0)


async def test_flood_and_stdin_at_once_do_not_wedge(hub: Hub, guest: GuestRef) -> None:
    request = ExecRequest(
        command="yes flood | head -c 4000000; cat >/dev/null", stdin=b"y" * 60_000
    )
    result = await hub.exec(guest, request)
    assert (result.exit_code, result.truncated) == (0, True)


async def test_events_come_while_it_runs_and_replay(hub: Hub, guest: GuestRef) -> None:
    request = ExecRequest(command="echo one; read -r go; echo two", open_stdin=True)
    execution = await hub.start(guest, request)
    early = [event async for event in _until_output(execution.follow())]
    assert execution.is_running
    await hub.send_stdin(guest, execution.exec_id, b"go\n", close=True)
    await execution.wait()
    events = [event async for event in execution.follow()]
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert [e.data for e in events if e.kind is EventKind.STDOUT] == [b"one\n", b"two\n"]
    assert events[: len(early)] == early
    replayed = [event async for event in execution.follow(after_id=events[-1].id - 1)]
    assert [event.kind for event in replayed] == [EventKind.EXIT]


async def test_client_that_goes_away_ends_its_command(hub: Hub, guest: GuestRef) -> None:
    task = asyncio.create_task(hub.exec(guest, ExecRequest(command="echo up; sleep 30")))
    while not (running := [one for one in hub.executions(guest) if one.is_running]):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    (execution,) = running
    async for _ in _until_output(execution.follow()):
        pass
    task.cancel()
    assert (await execution.wait()).exit_code == 143


async def test_signals_reach_the_program(hub: Hub, any_guest: GuestRef) -> None:
    script = "trap 'echo usr1' USR1; trap 'exit 5' INT; echo up; while :; do sleep 0.1; done"
    execution = await hub.start(any_guest, ExecRequest(command=script))
    outputs = (event async for event in execution.follow() if event.kind is EventKind.STDOUT)
    await anext(outputs)
    await hub.signal(any_guest, execution.exec_id, "USR1")
    await anext(outputs)
    await hub.signal(any_guest, execution.exec_id, "INT")
    result = await execution.wait()
    assert (result.stdout, result.exit_code) == (b"up\nusr1\n", 5)


async def test_stdin_kept_open_takes_more(hub: Hub, guest: GuestRef) -> None:
    execution = await hub.start(guest, ExecRequest(command="cat", stdin=b"a", open_stdin=True))
    await hub.send_stdin(guest, execution.exec_id, b"b")
    await hub.send_stdin(guest, execution.exec_id, b"c", close=True)
    assert (await execution.wait()).stdout == b"abc"


async def test_guests_do_not_hear_each_other(hub: Hub) -> None:
    names = [guest_consoles.guest(vmid) for vmid in guest_consoles.SHELLS.values()]
    request = ExecRequest(command="cat /etc/hostname || hostname")
    results = await asyncio.gather(*(hub.exec(name, request) for name in names))
    assert len({result.stdout for result in results}) == len(names)
    assert hub.open_sessions == len(names)


async def _until_output(events):
    async for event in events:
        yield event
        if event.kind is EventKind.STDOUT:
            return
