"""Nothing of our own process's state is found in tenants' programs."""

import re

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import (
    ASH,
    BASH,
    DASH,
    shared_hub,  # noqa: F401
)

from pve402.hub.console import ConsoleChannel
from pve402.hub.detached import DetachedPrograms
from pve402.hub.hub import Hub
from pve402.hub.request import EventKind, ExecRequest
from pve402.proxmox.guests import GuestRef

pytestmark = guest_consoles.SHARING_A_HUB

SHOW = """
umask; touch /tmp/made; ls -l /tmp/made | cut -c1-10
grep -E 'SigIgn|SigBlk' /proc/self/status
ls -l /proc/self/fd >/tmp/made 2>/dev/null
# Not that of the listed folder, nor one that the simulated guest has everywhere.
sed -n '/socket:/d;/proc/d;s/.* \\([0-9]*\\) -> .*/\\1/p' </tmp/made; rm /tmp/made; pwd
echo IFS="$IFS" | od -An -tx1; case $- in *[efuxvm]*) echo options $-;; esac; trap
env | cut -d= -f1 | grep -Ev '^(_|PWD|OLDPWD|SHLVL|container)$' | sort
"""
#: The terminal, what the simulated guest has everywhere, and what was written above.
NOT_OURS = "/dev.tty/d;/dev.pts/d;/socket:/d;/tmp.made/d"
NAMES = ["HOME", "LANG", "LOGNAME", "PATH", "SHELL", "USER"]


def signals(line: str) -> int:
    """The signals of a line of /proc/PID/status, without the two that glibc keeps for itself.

    A program that was started by posix_spawn has those ignored, and cannot change it.
    """
    return int(line.split()[1], 16) & ~(1 << 31 | 1 << 32)


def check(shown: str) -> None:
    umask, made, blocked, ignored, *rest = shown.split("\n")
    assert (umask, made) == ("0022", "-rw-r--r--")
    assert [signals(line) for line in (blocked, ignored)] == [0, 0]
    descriptors, rest = rest[: rest.index("/root")], rest[rest.index("/root") + 1 :]
    assert descriptors[:3] == ["0", "1", "2"]
    assert not descriptors[3:]
    assert rest[0].split() == ["49", "46", "53", "3d", "20", "09", "0a", "0a"]
    assert [name for name in rest[1:] if name] == NAMES


async def test_of_a_command(hub: Hub, any_guest: GuestRef) -> None:
    check((await hub.exec(any_guest, ExecRequest(command=SHOW))).stdout.decode())


async def test_of_a_command_with_stdin(hub: Hub, any_guest: GuestRef) -> None:
    request = ExecRequest(command=SHOW, stdin=b"unread")
    check((await hub.exec(any_guest, request)).stdout.decode())


async def test_of_a_command_of_a_user(hub: Hub, any_guest: GuestRef) -> None:
    request = ExecRequest(command="grep SigIgn /proc/self/status; umask", user="nobody")
    ignored, umask = (await hub.exec(any_guest, request)).stdout.decode().splitlines()
    assert (signals(ignored), umask) == (0, "0022")


@pytest.mark.parametrize("stdin", [{}, {"stdin": b"given"}, {"open_stdin": True}])
async def test_of_a_detached_program(
    hub: Hub, any_guest: GuestRef, stdin: dict[str, object]
) -> None:
    programs = DetachedPrograms(hub)
    request = ExecRequest(command=SHOW, **stdin)  # type: ignore[arg-type]
    exec_id = await programs.start(any_guest, request)
    events = [event async for event in programs.follow(any_guest, exec_id)]
    await programs.delete(any_guest, exec_id)
    check(b"".join(e.data for e in events if e.kind is EventKind.STDOUT).decode())


async def _state_of(console: ConsoleChannel) -> dict[str, list[str]]:
    """What an interactive shell says of itself, by kind."""
    asked = {
        "traps": "trap",
        "descriptors": f"ls -l /proc/$$/fd >/tmp/made; sed -n '{NOT_OURS};s/.* -> //p' /tmp/made",
        "IFS": "echo IFS=\"$IFS\" | od -An -tx1 | sed 's/^ *//'",
        "names": "env | cut -d= -f1 | grep -Ev '^(_|PWD|OLDPWD|SHLVL|container)$'",
        "options": "echo $-.",
    }
    found = {}
    for kind, command in asked.items():
        await console.write(f"stty -echo; echo be''gin; {command}; echo e''nd\r".encode())
        shown = b""
        while b"end\r" not in shown.partition(b"begin\r\n")[2]:
            data = await console.read()
            assert data is not None
            shown += data
        said = shown.partition(b"begin\r\n")[2].partition(b"end\r")[0]
        found[kind] = said.decode().split("\r\n")[:-1]
    return found


@pytest.mark.parametrize("vmid", [ASH, DASH, BASH])
async def test_of_a_console(hub: Hub, vmid: int) -> None:
    console = await hub.open_console(guest_consoles.guest(vmid), 80, 24)
    await console.write(b"umask; grep -E 'SigIgn|SigPnd' /proc/self/status; echo e''nd\r")
    shown = b""
    while b"end\r" not in shown:
        data = await console.read()
        assert data is not None
        shown += data
    state = await _state_of(console)
    await console.write(b"exit\r")

    assert state["traps"] == []
    assert state["descriptors"] == []  # but for the terminal
    assert state["IFS"] == ["49 46 53 3d 20 09 0a 0a"]
    assert set(state["names"]) <= {*NAMES, "TERM"}
    assert not set("efuxv") & set(state["options"][0])
    assert b"0022\r\n" in shown
    # SIGPIPE and SIGXFSZ, which Python ignores; an interactive shell's own are others.
    (ignored,) = re.findall(rb"SigIgn:\s+([0-9a-f]{16})", shown)
    assert not int(ignored, 16) & (1 << 12 | 1 << 24)


@pytest.mark.parametrize(
    "command",
    [
        "sleep 77",
        "sleep 77; true",
        "sleep 77 | cat",
        "sh -c 'sleep 77; true'",
        "(sleep 77; true)",
        "sleep 77 & wait",
        "trap '' TERM; while :; do sleep 1; done",
        "while :; do sleep 0.1; done",
    ],
)
async def test_a_time_out_leaves_no_words_of_ours(
    hub: Hub, any_guest: GuestRef, command: str
) -> None:
    for limit_seconds in (0.4, 4, 40):  # on a busy machine a program may begin after its time
        request = ExecRequest(command=f"echo own >&2; {command}", timeout_seconds=limit_seconds)
        result = await hub.exec(any_guest, request)
        if result.stderr:
            break

    assert result.timed_out
    assert result.stderr == b"own\n"


async def test_a_detached_time_out_leaves_no_words_of_ours(hub: Hub, any_guest: GuestRef) -> None:
    programs = DetachedPrograms(hub)
    request = ExecRequest(command="echo own >&2; sleep 77", timeout_seconds=1)
    exec_id = await programs.start(any_guest, request)
    events = [event async for event in programs.follow(any_guest, exec_id)]
    known = await programs.get(any_guest, exec_id)
    await programs.delete(any_guest, exec_id)

    assert known.timed_out
    assert b"".join(e.data for e in events if e.kind is EventKind.STDERR) == b"own\n"


async def test_what_we_type_is_in_no_history(hub: Hub) -> None:
    look = ExecRequest(command="cat ~/.bash_history 2>/dev/null; true")
    shown = await hub.exec(guest_consoles.guest(BASH), look)

    assert b"pve402" not in shown.stdout
