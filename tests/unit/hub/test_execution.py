"""Events are kept, bounded, followed and replayed."""

import asyncio

import prometheus_client
import pytest

from pve402.hub import errors, guest_scripts
from pve402.hub.execution import LARGEST_EVENTS, Execution
from pve402.hub.request import EventKind, ExecRequest

OUT, ERR = EventKind.STDOUT, EventKind.STDERR


def make(limit: int = 100, **more: object) -> Execution:
    times = iter(range(1000))
    request = ExecRequest(command="x", output_limit_bytes=limit, **more)  # type: ignore[arg-type]
    return Execution("e1", request, clock=lambda: float(next(times)))


async def test_result_holds_streams_apart_and_together() -> None:
    execution = make()
    for kind, data in ((OUT, b"a"), (ERR, b"b"), (OUT, b"c")):
        assert execution.add_output(kind, data)
    execution.finish(3)
    result = await execution.wait()
    assert (result.stdout, result.stderr, result.output) == (b"ac", b"b", b"abc")
    assert (result.exit_code, result.duration_ms, result.truncated) == (3, 1000, False)


async def test_output_beyond_the_limit_is_cut() -> None:
    execution = make(limit=5)
    assert execution.add_output(OUT, b"abc")
    assert not execution.add_output(ERR, b"defg")
    assert not execution.add_output(OUT, b"x")
    execution.finish(0)
    result = await execution.wait()
    assert (result.output, result.truncated) == (b"abcde", True)


async def test_nothing_is_kept_behind_the_end() -> None:
    execution = make()
    execution.fail(errors.SessionLost())
    assert not execution.add_output(OUT, b"late")
    with pytest.raises(errors.SessionLost):
        await execution.wait()
    assert [event.kind async for event in execution.follow()] == [EventKind.START, EventKind.ERROR]
    assert not execution.truncated


async def test_exactly_the_limit_is_not_cut() -> None:
    execution = make(limit=3)
    assert execution.add_output(OUT, b"abc")
    assert not execution.truncated


async def test_unseen_pieces_are_joined_and_seen_ones_are_not() -> None:
    execution = make()
    execution.add_output(OUT, b"a")
    execution.add_output(OUT, b"b")
    follower = execution.follow()
    assert [(await anext(follower)).data for _ in range(2)] == [b"", b"ab"]
    execution.add_output(OUT, b"c")
    execution.finish(0)
    assert [event.data async for event in follower] == [b"c", b""]
    assert [event.id async for event in execution.follow()] == [1, 2, 3, 4]


async def test_number_of_events_is_bounded() -> None:
    execution = make(limit=10**9)
    for _ in range(LARGEST_EVENTS):
        execution.add_output(OUT, b"a")
        execution.add_output(ERR, b"b")
    assert execution.truncated
    assert execution.kept_bytes < LARGEST_EVENTS


async def test_error_reaches_everybody_with_the_id() -> None:
    execution = make()
    waiting = asyncio.create_task(execution.wait())
    execution.fail(errors.SessionLost())
    execution.finish(0)
    with pytest.raises(errors.SessionLost) as caught:
        await waiting
    assert caught.value.exec_id == "e1"
    assert [e.kind async for e in execution.follow(1)] == [EventKind.ERROR]


async def test_waiting_for_the_end_can_be_cancelled_or_time_out() -> None:
    execution = make()
    assert not await execution.wait_over(0.01)
    execution.cancel()
    assert not await execution.wait_over(10)
    execution.finish(1)
    assert await execution.wait_over(10, ignore_cancel=True)


async def test_stdin_of_a_request_is_one_piece() -> None:
    source = make(stdin=b"abc").stdin.source()
    assert source is not None
    assert [piece async for piece in source] == [b"abc"]
    assert make().stdin.source() is None


@pytest.mark.parametrize(
    ("data", "close"), [(b"", True), (b"b", True), (b"b", False), (b"b" * 10, True)]
)
async def test_a_writer_that_leaves_closes_nothing(data: bytes, close: bool) -> None:
    execution = make(open_stdin=True)
    source = execution.stdin.source()
    assert source is not None
    await execution.stdin.put(b"a", close=False)
    leaving = asyncio.create_task(execution.stdin.put(data, close=close))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)

    closing = asyncio.create_task(execution.stdin.put(b"z", close=True))
    read = [piece async for piece in source]
    await closing

    assert read == [b"a", b"z"]


async def test_pieces_of_several_writers_come_whole_and_before_the_end() -> None:
    execution = make(open_stdin=True)
    source = execution.stdin.source()
    assert source is not None
    put = execution.stdin.put
    writers = [asyncio.create_task(put(bytes([n]), close=n == 3)) for n in range(5)]

    read = [piece async for piece in source]
    ended = await asyncio.gather(*writers, return_exceptions=True)

    assert read == [b"\0", b"\1", b"\2", b"\3"]
    assert [type(end) for end in ended] == [type(None)] * 4 + [errors.RequestRefused]


async def test_open_stdin_ends_when_it_is_closed() -> None:
    execution = make(stdin=b"a", open_stdin=True)
    source = execution.stdin.source()
    assert source is not None
    reading = asyncio.create_task(_collect(source))
    await execution.stdin.put(b"b", close=False)
    await execution.stdin.put(b"", close=True)
    assert await reading == [b"a", b"b"]
    with pytest.raises(errors.RequestRefused):
        await execution.stdin.put(b"c", close=False)


@pytest.mark.parametrize(
    "end",
    [lambda execution: execution.finish(0), lambda execution: execution.fail(errors.SessionLost())],
    ids=["finished", "lost"],
)
async def test_writers_that_wait_are_refused_when_the_command_ends(end) -> None:
    execution = make(open_stdin=True)
    await execution.stdin.put(b"a", close=False)
    waiting = [asyncio.create_task(execution.stdin.put(b"b", close=False)) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(writer.done() for writer in waiting)

    end(execution)

    async with asyncio.timeout(5):
        answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [errors.RequestRefused] * 3
    with pytest.raises(errors.RequestRefused):
        await execution.stdin.put(b"c", close=True)


async def _collect(source) -> list[bytes]:
    return [piece async for piece in source]


def counted(outcome: str) -> float:
    found = prometheus_client.REGISTRY.get_sample_value(
        "pve402_commands_total", {"outcome": outcome}
    )
    return found or 0.0


@pytest.mark.parametrize(
    ("outcome", "end"),
    [
        ("done", lambda execution: execution.finish(0)),
        ("failed", lambda execution: execution.finish(3)),
        ("session_lost", lambda execution: execution.fail(errors.SessionLost())),
        ("cancelled", lambda execution: (execution.cancel(), execution.finish(143))),
    ],
)
async def test_how_a_command_ended_is_counted_once(outcome: str, end) -> None:
    before, execution = counted(outcome), make()
    end(execution)
    execution.finish(1)

    assert counted(outcome) - before == 1


async def test_what_the_hub_runs_for_itself_is_not_counted() -> None:
    before, execution = counted("done"), make()
    execution.request = guest_scripts.request("files", "look", "/etc/passwd")
    execution.finish(0)

    assert counted("done") == before


@pytest.mark.parametrize(
    "argv", [("sh", "-c"), ("sh",), ("sh", "-c", guest_scripts.source("files"))]
)
async def test_what_a_tenant_runs_is_theirs_whatever_its_words(argv: tuple[str, ...]) -> None:
    before, execution = counted("failed"), make()
    execution.request = ExecRequest(argv=argv)
    execution.finish(2)

    assert not guest_scripts.is_ours(execution.request)
    assert (await execution.wait()).exit_code == 2
    assert counted("failed") - before == 1


def flowing(limit: int) -> tuple[Execution, list[int]]:
    execution, told = make(limit=limit, flows=True), []
    execution.on_read = lambda _kind, size: told.append(size)
    return execution, told


async def test_a_program_waits_for_its_follower() -> None:
    execution, told = flowing(limit=4)
    follower = execution.follow()
    await anext(follower)
    execution.add_output(OUT, b"abc")
    assert told == []
    assert (await anext(follower)).data == b"abc"
    execution.add_output(ERR, b"defgh")
    assert told == []  # the follower has it, and has not asked for more
    assert (await anext(follower)).data == b"defgh"
    assert told == [3]
    execution.add_output(OUT, b"ij")
    assert (await anext(follower)).data == b"ij"
    assert told == [3, 5]
    execution.finish(0)
    assert (await anext(follower)).kind is EventKind.EXIT
    assert not (await execution.wait()).truncated


async def test_read_output_is_forgotten_and_not_sent_again() -> None:
    execution, _ = flowing(limit=4)
    follower = execution.follow()
    for number in range(100):
        execution.add_output(OUT, b"%03d" % number)
        async for event in follower:
            if event.data == b"%03d" % number:
                break
        follower = execution.follow(event.id) if number % 10 == 0 else follower
    assert execution.kept_bytes <= 7
    assert execution.output_bytes[OUT] == 300
    again = [event async for event in execution.follow(1)]
    assert isinstance(again[0].error, errors.OutputGone)


async def test_without_a_follower_the_limit_cuts_and_nothing_waits() -> None:
    execution, told = flowing(limit=4)
    follower = execution.follow()
    await anext(follower)
    execution.add_output(OUT, b"abc")
    assert told == []
    await follower.aclose()
    assert told == [3]
    execution.add_output(OUT, b"def")
    assert told == [3, 3]
    assert execution.truncated
