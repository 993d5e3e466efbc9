"""Output in memory is bounded for each guest and in all, until nobody holds it."""

import asyncio
import gc
import queue
import sys
import threading
import time

import pytest
from tests.support.fake_agent import FakeGuests

from pve402.hub import budget, guest_scripts
from pve402.hub import stream as streams
from pve402.hub.detached import DetachedPrograms
from pve402.hub.execution import Execution
from pve402.hub.hub import Hub
from pve402.hub.options import HubOptions
from pve402.hub.request import EventKind, ExecRequest
from pve402.proxmox.guests import GuestRef

ONE, TWO, THREE = (GuestRef(node="pve", vmid=vmid) for vmid in (101, 102, 103))
MIB = 1024 * 1024
SMALL = HubOptions(kept_bytes_per_guest=4 * MIB, kept_bytes_in_all=6 * MIB)


def make(guest_bytes: int = 4 * MIB, total_bytes: int = 6 * MIB) -> budget.OutputBudget:
    return budget.OutputBudget(
        guest_bytes=guest_bytes, total_bytes=total_bytes, make_room=lambda *_: None
    )


def run(room: budget.OutputBudget, guest: GuestRef, size: int) -> Execution:
    """An execution that has written zeros, in pieces of 48 KiB."""
    request = ExecRequest(command="x", output_limit_bytes=16 * MIB)
    execution = Execution("e1", request, clock=lambda: 0.0)
    execution.share = room.open(guest)
    while size > 0 and execution.add_output(EventKind.STDOUT, bytes(min(size, 48 * 1024))):
        size -= 48 * 1024
    return execution


def test_a_guest_keeps_its_share_and_is_told_that_the_rest_was_cut() -> None:
    room = make()
    executions = [run(room, ONE, 3 * MIB), run(room, ONE, 3 * MIB)]

    assert room.kept_bytes == sum(e.kept_bytes for e in executions) == 4 * MIB
    assert [e.truncated for e in executions] == [False, True]


def test_all_guests_together_keep_what_there_is() -> None:
    room = make()
    executions = [run(room, guest, 4 * MIB) for guest in (ONE, TWO)]

    assert room.kept_bytes == 6 * MIB
    assert [e.kept_bytes for e in executions] == [4 * MIB, 2 * MIB]


def test_a_guest_that_comes_late_keeps_what_it_is_assured_of() -> None:
    room = make()
    kept = [run(room, guest, 4 * MIB) for guest in (ONE, TWO)]
    late = run(room, THREE, MIB)

    assert late.kept_bytes == budget.ASSURED_BYTES
    assert late.truncated
    assert len(kept) == 2


def test_what_is_forgotten_makes_room() -> None:
    kept: list[Execution] = []
    room = budget.OutputBudget(
        guest_bytes=4 * MIB, total_bytes=6 * MIB, make_room=lambda *_: kept.clear()
    )
    for _ in range(10):
        kept.append(run(room, ONE, 3 * MIB))
        assert not kept[-1].truncated

    assert room.kept_bytes <= 4 * MIB


async def test_what_is_still_being_sent_counts() -> None:
    room = make()
    execution = run(room, ONE, 3 * MIB)
    execution.finish(0)
    result = await execution.wait()
    del execution
    gc.collect()
    assert room.kept_bytes == 3 * MIB

    del result
    gc.collect()
    assert room.kept_bytes == 0


async def test_the_result_holds_no_copies() -> None:
    execution = run(make(), ONE, 3 * MIB)
    execution.finish(0)
    result = await execution.wait()

    assert all(any(piece is event for event in execution.events) for piece in result.pieces)
    assert len(result.stdout) == len(result.output) == 3 * MIB


async def test_a_guest_without_room_of_its_own_takes_none_from_others() -> None:
    async with Hub(SMALL, FakeGuests().open_terminal) as hub:
        for guest in (TWO, ONE):
            await remember(hub, guest, 2 * MIB)
        late = run(hub.budget, ONE, 6 * MIB)

        assert (late.truncated, late.kept_bytes) == (True, 4 * MIB)
        assert [len(hub.executions(guest)) for guest in (ONE, TWO)] == [0, 1]


async def test_when_there_is_no_room_in_all_others_forget_what_has_ended() -> None:
    async with Hub(SMALL, FakeGuests().open_terminal) as hub:
        for guest in (TWO, THREE):
            await remember(hub, guest, 3 * MIB)
        await hub.session(ONE)
        late = run(hub.budget, ONE, 2 * MIB)

        assert not late.truncated
        assert [len(hub.executions(guest)) for guest in (TWO, THREE)] == [0, 1]


async def test_what_the_hub_runs_for_itself_needs_no_room_and_is_not_remembered() -> None:
    async with Hub(SMALL, FakeGuests().open_terminal) as hub:
        full = run(hub.budget, ONE, 4 * MIB)
        ours = await hub.start(ONE, guest_scripts.request("files", "look", "/etc/hosts", "0"))
        theirs = await hub.start(ONE, ExecRequest(command="ls"))
        for execution in (ours, theirs):
            execution.add_output(EventKind.STDOUT, b"abc")
        await asyncio.gather(ours.wait(), theirs.wait())
        async with asyncio.timeout(10):
            while ours in hub.executions(ONE):  # noqa: ASYNC110
                await asyncio.sleep(0)

        assert full.kept_bytes == hub.budget.kept_bytes == 4 * MIB
        assert [e.kept_bytes for e in (ours, theirs)] == [3, 0]
        assert hub.executions(ONE) == (theirs,)


async def test_the_output_of_a_detached_program_that_is_followed_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Hub(SMALL, FakeGuests().open_terminal) as hub:
        started: list[Execution] = []
        start = hub.start

        async def spy(guest: GuestRef, request: ExecRequest) -> Execution:
            started.append(await start(guest, request))
            return started[-1]

        monkeypatch.setattr(hub, "start", spy)
        events = DetachedPrograms(hub).follow(ONE, f"e{'0' * 24}")
        following = asyncio.create_task(anext(events))
        async with asyncio.timeout(10):
            while not started:  # noqa: ASYNC110
                await asyncio.sleep(0)
        started[0].add_output(EventKind.STDOUT, b"abc")
        await following

        assert hub.budget.kept_bytes == 3


async def remember(hub: Hub, guest: GuestRef, size: int) -> None:
    """Have the hub remember an execution that has just ended."""
    await hub.session(guest)
    execution = run(hub.budget, guest, size)
    execution.finish(0)
    execution.ended_at = time.monotonic()
    hub._guests[guest].register(execution)


def test_shares_that_another_thread_lets_go_are_counted_exactly() -> None:
    room, dropped = make(), queue.SimpleQueue[budget.Share | None]()
    usual, times = sys.getswitchinterval(), 20_000

    def let_go() -> None:
        while dropped.get() is not None:
            pass

    thread = threading.Thread(target=let_go)
    thread.start()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(times):
            share = room.open(ONE)
            share.take(10)
            dropped.put(share)
            del share
    finally:
        sys.setswitchinterval(usual)
        dropped.put(None)
        thread.join()

    assert room.kept_bytes == 0
    assert room.open(ONE).take(9 * MIB) == 4 * MIB


def test_a_share_that_goes_in_the_middle_of_taking_is_counted_once() -> None:
    kept: list[Execution] = []

    def make_room(*_: object) -> None:
        kept.clear()

    room = budget.OutputBudget(guest_bytes=4 * MIB, total_bytes=6 * MIB, make_room=make_room)
    kept.append(run(room, ONE, 4 * MIB))

    late = run(room, ONE, MIB)

    assert (late.truncated, late.kept_bytes, room.kept_bytes) == (False, MIB, MIB)


async def test_input_in_small_messages_takes_no_more_memory_than_in_large_ones():
    sent = bytes(range(256)) * 512
    stream = streams.Stream(make().open(ONE))
    for start in range(0, len(sent), 2):
        stream.write(sent[start : start + 2])
    stream.end_input()

    pieces = [piece async for piece in stream.input()]

    assert b"".join(pieces) == sent
    assert len(pieces) == len(sent) // streams.PIECE_BYTES
