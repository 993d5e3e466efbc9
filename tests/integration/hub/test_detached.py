"""Detached programs: spooled in the guest, found again, bounded."""

import asyncio
import dataclasses
import functools
import hashlib
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.support import guest_consoles
from tests.support.guest_consoles import shared_hub  # noqa: F401

from pve402.guests import detached_ways, guest_work
from pve402.hub import errors
from pve402.hub.detached import DetachedPrograms, DetachedState
from pve402.hub.hub import Hub
from pve402.hub.request import EventKind, ExecRequest
from pve402.proxmox.guests import GuestRef

pytestmark = guest_consoles.SHARING_A_HUB


async def test_output_is_followed_and_found_again(hub: Hub, any_guest: GuestRef) -> None:
    programs = DetachedPrograms(hub)
    script = "echo one; read -r go; echo two; echo err >&2; exit 5"
    exec_id = await programs.start(any_guest, ExecRequest(command=script, open_stdin=True))
    assert (await programs.get(any_guest, exec_id)).state is DetachedState.RUNNING
    events = []
    async for event in programs.follow(any_guest, exec_id):
        events += [event] if event.data else []
        if event.data == b"one\n":
            await programs.stdin(any_guest, exec_id, b"go\n", close=False)
    assert _join(events, EventKind.STDOUT) == b"one\ntwo\n"
    assert _join(events, EventKind.STDERR) == b"err\n"
    after_first = [e async for e in programs.follow(any_guest, exec_id, events[0].id) if e.data]
    assert _join(after_first, EventKind.STDOUT) == b"two\n"
    (known,) = [d for d in await programs.list(any_guest) if d.exec_id == exec_id]
    assert (known.state, known.exit_code, known.stdout_bytes) == (DetachedState.EXITED, 5, 8)
    await programs.delete(any_guest, exec_id)
    with pytest.raises(errors.ExecNotFound):
        await programs.get(any_guest, exec_id)


async def test_spool_is_bounded(
    hub: Hub, any_guest: GuestRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "options", dataclasses.replace(hub.options, spool_bytes=100_000))
    programs = DetachedPrograms(hub)
    request = ExecRequest(command="yes | head -c 5000000; echo end >&2")
    exec_id = await programs.start(any_guest, request)
    out = [e async for e in programs.follow(any_guest, exec_id) if e.kind is EventKind.STDOUT]
    known = await programs.get(any_guest, exec_id)
    await programs.delete(any_guest, exec_id)
    assert sum(len(event.data) for event in out) == 100_000
    assert (known.truncated, known.exit_code, known.stdout_bytes) == (True, 0, 100_000)


async def test_stdin_signal_and_time_limit(hub: Hub, any_guest: GuestRef) -> None:
    programs = DetachedPrograms(hub)
    reader = await programs.start(any_guest, ExecRequest(command="cat", open_stdin=True))
    await programs.stdin(any_guest, reader, b"a\0b", close=False)
    await programs.stdin(any_guest, reader, b"c\n", close=True)
    sleeper = await programs.start(any_guest, ExecRequest(command="sleep 60"))
    await programs.signal(any_guest, sleeper, "INT")
    slow = await programs.start(any_guest, ExecRequest(command="sleep 60", timeout_seconds=1))
    ended = [await _wait(programs, any_guest, name) for name in (reader, sleeper, slow)]
    assert [known.exit_code for known in ended] == [0, 130, 143]
    assert [known.timed_out for known in ended] == [False, False, True]
    out = [e async for e in programs.follow(any_guest, reader)]
    assert _join(out, EventKind.STDOUT) == b"a\0bc\n"
    for name in (reader, sleeper, slow):
        await programs.delete(any_guest, name)


async def test_a_signal_that_is_not_sent_says_why(hub: Hub, any_guest: GuestRef) -> None:
    programs = DetachedPrograms(hub)
    runs = await programs.start(any_guest, ExecRequest(command="sleep 60"))
    with pytest.raises(errors.RequestRefused, match="does not know this signal"):
        await programs.signal(any_guest, runs, "BANANA")
    await programs.signal(any_guest, runs, "KILL")
    await _wait(programs, any_guest, runs)
    with pytest.raises(errors.RequestRefused, match="has ended"):
        await programs.signal(any_guest, runs, "TERM")
    await programs.delete(any_guest, runs)


async def test_given_stdin_and_number_limit(
    hub: Hub, guest: GuestRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "options", dataclasses.replace(hub.options, max_detached=1))
    programs = DetachedPrograms(hub)
    first = await programs.start(guest, ExecRequest(command="md5sum", stdin=b"x" * 9000))
    with pytest.raises(errors.TooManyCommands):
        await programs.start(guest, ExecRequest(command="true"))
    await _wait(programs, guest, first)
    out = [e async for e in programs.follow(guest, first)]
    assert _join(out, EventKind.STDOUT).startswith(hashlib.md5(b"x" * 9000).hexdigest().encode())
    await programs.delete(guest, first)


async def test_delete_kills(hub: Hub, any_guest: GuestRef) -> None:
    programs = DetachedPrograms(hub)
    exec_id = await programs.start(any_guest, ExecRequest(command="exec sleep 87.5"))
    await programs.delete(any_guest, exec_id)
    look = ExecRequest(command=r"cat /proc/[0-9]*/cmdline | tr '\0' ' ' | grep -c 'sleep [8]7.5'")
    seen, looks = b"", 0
    while seen != b"0\n" and looks < 100:  # who was killed may be seen for a moment
        seen, looks = (await hub.exec(any_guest, look)).stdout, looks + 1
    assert seen == b"0\n"


async def test_unknown_ids_are_not_found(hub: Hub, guest: GuestRef) -> None:
    programs = DetachedPrograms(hub)
    for exec_id in ("e" + "0" * 24, "../../etc", "", "e;id"):
        with pytest.raises(errors.ExecNotFound):
            await programs.get(guest, exec_id or "x")


async def _wait(programs: DetachedPrograms, guest: GuestRef, exec_id: str):
    async with asyncio.timeout(60):
        while (  # noqa: ASYNC110 - only asking tells
            known := await programs.get(guest, exec_id)
        ).state is DetachedState.RUNNING:
            await asyncio.sleep(0.1)
    return known


def _join(events, kind: EventKind) -> bytes:
    return b"".join(event.data for event in events if event.kind is kind)


@pytest.mark.parametrize(
    ("command", "at_least_ms"),
    [
        ("true", 0),
        ("sleep 0.3", 300),
        ("sleep 1.2; exit 3", 1200),
        ("sleep 0.5; kill -9 $$", 500),
        ("cat; sleep 0.2", 200),
    ],
)
async def test_the_time_it_took_is_known(
    hub: Hub, any_guest: GuestRef, command: str, at_least_ms: int
) -> None:
    programs = DetachedPrograms(hub)
    exec_id = await programs.start(any_guest, ExecRequest(command=command, stdin=b"x"))
    ended = await _wait(programs, any_guest, exec_id)
    await programs.delete(any_guest, exec_id)

    assert ended.duration_ms is not None
    # The guest's clock shows hundredths.
    assert ended.duration_ms >= at_least_ms - 10


async def test_of_one_that_runs_or_was_lost_no_time_is_known(hub: Hub, guest: GuestRef) -> None:
    programs = DetachedPrograms(hub)
    exec_id = await programs.start(guest, ExecRequest(command="sleep 60"))
    running = await programs.get(guest, exec_id)
    # As an earlier version wrote it.
    find = "d=$(ls -d /*/.pve402-d/ID /*/*/.pve402-d/ID 2>/dev/null)".replace("ID", exec_id)
    cut = f'{find}; read -r b t u <"$d/start"; echo "$b $t" >"$d/start"; echo 0 >"$d/exit"'
    await hub.exec(guest, ExecRequest(command=cut))
    former = await programs.get(guest, exec_id)
    await programs.delete(guest, exec_id)

    assert (running.state, running.duration_ms) == (DetachedState.RUNNING, None)
    assert (former.state, former.exit_code, former.duration_ms) == (DetachedState.EXITED, 0, None)


async def test_a_guest_is_at_work_while_one_runs(
    hub: Hub, guest: GuestRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = DetachedPrograms(hub)
    work: Any = SimpleNamespace(detached=programs)
    monkeypatch.setattr(guest_work, "ref", lambda _: guest)
    is_at_work = functools.partial(detached_ways.are_running, work, cast("Any", None))
    exec_id = await programs.start(guest, ExecRequest(command="sleep 60"))

    while_it_runs = await is_at_work()
    await programs.delete(guest, exec_id)

    assert while_it_runs
    assert not await is_at_work()
