"""Whatever a guest sends, no crash, no hang past a deadline, no memory without bound."""

import asyncio
import base64

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import simulated_time

from pve402.hub import errors, invocation, supervision
from pve402.hub.boot import Hello
from pve402.hub.execution import Execution
from pve402.hub.options import HubOptions
from pve402.hub.request import ExecRequest
from pve402.hub.session import Session

NONCE = "0123456789ab"
OPTIONS = HubOptions(
    heartbeat_seconds=0.01,
    silence_seconds=0.02,
    acknowledge_seconds=0.02,
    kill_after_seconds=0.01,
    drain_seconds=0.01,
)
#: Of a guest whose silence proves nothing.
CALM = HubOptions(silence_seconds=60.0, acknowledge_seconds=60.0)


class FakeSocket:
    """A terminal whose other side is the test."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.is_closed = False
        self.incoming: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def send(self, data: bytes) -> None:
        self.sent += data

    async def receive(self) -> bytes | None:
        return await self.incoming.get()

    async def close(self) -> None:
        self.is_closed = True
        self.incoming.put_nowait(None)


def frame(*fields: str) -> bytes:
    return f"\x1b_{NONCE} {' '.join(fields)}\x1b\\".encode()


def open_session(socket: FakeSocket, *, options: HubOptions = OPTIONS) -> Session:
    hello = Hello(encoding="base64", directory="/run", tools=frozenset(), rest=b"")
    session = Session(socket, NONCE, hello, options)
    session.start()
    return session


def start(session: Session, **values: object) -> Execution:
    request = ExecRequest(command="x", **values)  # type: ignore[arg-type]
    execution = Execution("e", request, clock=lambda: 0.0)
    channel = session.open_channel(execution, invocation.build(request), with_stdin=False)
    work = supervision.supervise(session, channel, execution, OPTIONS)
    execution.task = asyncio.create_task(work)  # type: ignore[attr-defined]
    return execution


_fields = st.one_of(
    st.sampled_from(["0.1", "0", "1", "2", "99999", "-1", "0=0", "0.1=5", "QUI=", "=", "", "é"]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=12),
)
_frame = st.builds(frame, st.sampled_from("oeXIBGZARSHF?"), _fields, _fields, _fields, _fields)
_short = st.builds(
    lambda kind, fields: frame(kind, *fields),
    st.sampled_from("oeXIBGZARS"),
    st.lists(_fields, max_size=6),
)
_noise = st.one_of(st.binary(max_size=40), st.just(f"\x1b_{NONCE} ".encode()), st.just(b"\x1b\\"))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(_frame, _short, _noise), max_size=25))
def test_any_frames_end_within_the_deadlines(messages: list[bytes]) -> None:
    async def scenario() -> None:
        socket = FakeSocket()
        session = open_session(socket)
        execution = start(session, timeout_seconds=0.02)
        for message in messages:
            socket.incoming.put_nowait(message)
        async with asyncio.timeout(5):
            try:
                result = await execution.wait()
                assert 0 <= result.exit_code <= 999
            except errors.SessionFailed:
                pass
        await session.close(quit_agent=False)
        execution.task.cancel()  # type: ignore[attr-defined]

    async def in_no_time() -> None:
        with simulated_time.moved_by_waiting():
            await scenario()

    asyncio.run(in_no_time())


async def test_silent_guest_ends_the_session() -> None:
    session = open_session(FakeSocket())
    execution = start(session)
    with pytest.raises(errors.SessionLost):
        async with asyncio.timeout(5):
            await execution.wait()
    await session.close(quit_agent=False)


async def test_missing_piece_fails_that_channel_alone() -> None:
    socket = FakeSocket()
    session = open_session(socket)
    first, second = start(session), start(session)
    socket.incoming.put_nowait(frame("o", "0.1", "1", "4", "QUJD"))
    socket.incoming.put_nowait(
        frame("o", "1.1", "0", "4", "QUJD") + frame("X", "1.1", "0", "0", "1", "0")
    )
    with pytest.raises(errors.OutputDamaged):
        await first.wait()
    assert (await second.wait()).stdout == b"ABC"
    await session.close(quit_agent=False)


@pytest.mark.parametrize(
    "fields",
    [
        ("o", "0.1", "0", "5", "QUJD"),
        ("o", "0.1", "0", "4", "Q*JD"),
        ("o", "0.1", "0", "3", "QUJ"),
        ("X", "0.1", "0", "0", "7", "0"),
        ("X", "0.1", "0", "x", "0", "0"),
        ("X", "0.1", "0", "99999", "0", "0"),
        ("X", "0.1", "x", "0", "0", "0"),
        ("X", "0.1"),
        ("Y", "0.1", "what"),
    ],
)
async def test_damaged_frame_fails_the_command(fields: tuple[str, ...]) -> None:
    socket = FakeSocket()
    session = open_session(socket)
    execution = start(session)
    socket.incoming.put_nowait(frame(*fields))
    with pytest.raises(errors.OutputDamaged):
        await execution.wait()
    assert session.is_tainted
    await session.close(quit_agent=False)


async def test_late_frames_of_an_older_generation_are_ignored() -> None:
    socket = FakeSocket()
    session = open_session(socket)
    first = start(session)
    socket.incoming.put_nowait(frame("X", "0.1", "0", "0", "0", "0"))
    await first.wait()
    second = start(session)
    for late in (("o", "0.1", "0", "4", "QUJD"), ("X", "0.1", "0", "9", "0", "0"), ("Z", "0.1")):
        socket.incoming.put_nowait(frame(*late))
    socket.incoming.put_nowait(frame("X", "0.2", "0", "4", "0", "0"))
    result = await second.wait()
    assert (result.exit_code, result.stdout) == (4, b"")
    await session.close(quit_agent=False)


@pytest.mark.parametrize("end", [("X", "0.1", "0", "0", "0", "0"), ("Z", "0.1")])
async def test_an_execution_that_cannot_take_its_end_keeps_no_slot(
    end: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = FakeSocket()
    session = open_session(socket, options=CALM)

    def finish(*_: object) -> None:
        raise IndexError

    with monkeypatch.context() as patched:
        patched.setattr(Execution, "finish", finish)
        start(session)
        socket.incoming.put_nowait(frame(*end))
        async with asyncio.timeout(5):
            while not session.is_tainted:  # noqa: ASYNC110
                await asyncio.sleep(0)

    assert not session.is_busy
    await session.close(quit_agent=False)


async def test_writers_are_refused_once_a_running_program_reads_no_more() -> None:
    socket = FakeSocket()
    session = open_session(socket, options=CALM)
    request = ExecRequest(command="x", open_stdin=True)
    execution = Execution("e", request, clock=lambda: 0.0)
    channel = session.open_channel(execution, invocation.build(request), with_stdin=True)
    source = execution.stdin.source()
    work = asyncio.create_task(supervision.supervise(session, channel, execution, OPTIONS, source))
    socket.incoming.put_nowait(frame("B", "0.1"))

    async with asyncio.timeout(5):
        writers = [execution.stdin.put(b"x", close=False) for _ in range(10)]
        *_, last = await asyncio.gather(*writers, return_exceptions=True)

    assert isinstance(last, errors.RequestRefused)
    assert execution.is_running
    work.cancel()
    await session.close(quit_agent=False)


async def test_signals_at_the_same_time_have_each_their_answer() -> None:
    socket = FakeSocket()
    session = open_session(socket, options=CALM)
    channel = session.channel_of(start(session))
    assert channel is not None
    given_up = asyncio.create_task(session.signal(channel, "HUP"))
    signals = [asyncio.create_task(session.signal(channel, name)) for name in ("INT", "TERM")]
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    socket.incoming.put_nowait(frame("G", "0.1", "1") + frame("G", "0.1", "0"))

    async with asyncio.timeout(5):
        assert await asyncio.gather(*signals) == [True, False]
    await session.close(quit_agent=False)


async def test_signals_that_wait_are_answered_when_the_command_ends() -> None:
    socket = FakeSocket()
    session = open_session(socket, options=CALM)
    channel = session.channel_of(start(session))
    assert channel is not None
    signals = [asyncio.create_task(session.signal(channel, "TERM")) for _ in range(3)]
    await asyncio.sleep(0)
    socket.incoming.put_nowait(frame("X", "0.1", "0", "0", "0", "0"))

    async with asyncio.timeout(5):
        assert await asyncio.gather(*signals) == [False] * 3
    await session.close(quit_agent=False)


async def test_flood_keeps_memory_bounded() -> None:
    socket = FakeSocket()
    session = open_session(socket, options=CALM)
    execution = start(session, output_limit_bytes=1000, timeout_seconds=5)
    piece = "QUJD" * 12_000
    for number in range(200):
        socket.incoming.put_nowait(frame("o", "0.1", str(number), str(len(piece)), piece))
    socket.incoming.put_nowait(frame("X", "0.1", "0", "0", "200", "0"))
    result = await execution.wait()
    assert (len(result.output), result.truncated) == (1000, True)
    assert b"t 0" in socket.sent
    await session.close(quit_agent=False)


FORGED = {
    "strangers": frame("S", "0"),
    "no sequence": frame("A", "x"),
    "damaged": f"\x1b_{NONCE} o 0.1 \x1b[".encode(),
    "no kind": frame(""),
    "of no channel": frame("o", "7.9", "0", "4", "QUJD"),
    "of a channel never used": frame("X", "3.1", "0", "0", "0", "0"),
    "acknowledged again and again": frame("A", "0"),
    "expected again and again": frame("R", "0"),
    "of an early channel": frame("Z", "0.0"),
    "signals nobody asked for": frame("G", "0.1", "1"),
    "stdin nobody reads": frame("B", "0.1"),
    "stdin never sent": frame("I", "0.1", "1"),
    "wrong pieces": frame("o", "0.1", "5", "4", "QUJD"),
    "empty pieces": frame("o", "0.1", "0", "0", ""),
    "binary": f"\x1b_{NONCE} o\xff\x00".encode("latin-1") + b"\x1b\\",
}


@pytest.mark.parametrize("kind", FORGED)
async def test_a_guest_that_forges_frames_loses_its_session_and_fills_no_log(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    socket = FakeSocket()
    session = open_session(socket, options=CALM)
    execution = start(session)
    for _ in range(40):
        socket.incoming.put_nowait(FORGED[kind] * 1000)

    async with asyncio.timeout(20):
        await session.ended.wait()
        with pytest.raises(errors.SessionFailed):
            await execution.wait()
        await session.close()

    assert socket.is_closed
    assert b": pve402-quit" in socket.sent
    assert len(capsys.readouterr().out.splitlines()) <= 2
    left = socket.incoming.qsize()
    await asyncio.sleep(0.01)
    assert socket.incoming.qsize() == left


@pytest.mark.parametrize("complaint", [("R", "0"), ("R", "99"), ("A", "99"), ("R", "7", "x")])
async def test_a_line_that_never_arrives_ends_the_session_and_the_agent(
    complaint: tuple[str, ...],
) -> None:
    socket, now = FakeSocket(), 0.0
    hello = Hello(encoding="base64", directory="/run", tools=frozenset(), rest=b"")
    session = Session(socket, NONCE, hello, CALM, clock=lambda: now)
    session.start()
    execution = start(session)

    async with asyncio.timeout(20):
        while not session.ended.is_set():
            now += 0.2
            socket.incoming.put_nowait(frame(*complaint))
            sent = len(socket.sent)
            while len(socket.sent) == sent and not session.ended.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0)
        with pytest.raises(errors.SessionLost):
            await execution.wait()
        await session.close()

    assert socket.is_closed
    assert socket.sent.count(b": pve402-quit") == 1


async def test_a_few_damaged_frames_do_not_end_the_session() -> None:
    socket = FakeSocket()
    session = open_session(socket, options=CALM)
    for _ in range(5):
        socket.incoming.put_nowait(FORGED["strangers"] + FORGED["damaged"])
    for _ in range(1000):
        socket.incoming.put_nowait(FORGED["of no channel"])
    execution = start(session)
    socket.incoming.put_nowait(frame("X", "0.1", "0", "0", "0", "0"))

    assert (await execution.wait()).exit_code == 0
    assert session.is_tainted
    await session.close(quit_agent=False)


@pytest.mark.parametrize("size", [1, 10, 1000, 40_000])
async def test_others_have_their_turn_while_a_guest_floods(size: int) -> None:
    socket, turns, seen = FakeSocket(), 0, 0
    session = open_session(socket, options=CALM)
    execution = start(session, output_limit_bytes=10**9)
    piece = base64.b64encode(b"x" * size).decode()
    count = 2_000_000 // (len(piece) + 100)
    for number in range(count):
        socket.incoming.put_nowait(frame("o", "0.1", str(number), str(len(piece)), piece))
    socket.incoming.put_nowait(frame("X", "0.1", "0", "0", str(count), "0"))

    while execution.is_running:
        seen, before = execution.kept_bytes, seen
        assert seen - before <= 64 * 1024 * 8
        turns += 1
        await asyncio.sleep(0)

    assert turns > 3
    await session.close(quit_agent=False)


async def test_console_bytes_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    socket = FakeSocket()
    session = open_session(socket)
    execution = start(session)
    socket.incoming.put_nowait(b"\x1b]0;evil\x07\x1b[2J" + frame("o", "0.1", "\x7f", "1", "A"))
    socket.incoming.put_nowait(frame("o", "0.1", "9", "1", "\x1b[31m") + frame("S", "1"))
    with pytest.raises(errors.SessionFailed):
        await execution.wait()
    await session.close(quit_agent=False)
    assert "evil" not in capsys.readouterr().out
