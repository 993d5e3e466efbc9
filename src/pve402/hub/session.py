"""One warm session: a terminal with the agent on it, and the channels that share it.

The session reads everything that arrives and gives each frame to its channel; `outbox` sends.
`nudge` and `liveness` decide when to nudge the chain and when to doubt it; `link` delivers the
lines in order. A guest that sends what no agent would send loses its session.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress

import structlog

from pve402.hub import agent, errors, frames, metrics, offences
from pve402.hub.batching import BatchedReader
from pve402.hub.boot import Hello
from pve402.hub.channels import Channel, FramedSink, Sink
from pve402.hub.invocation import Invocation
from pve402.hub.link import Link, LinkBroken
from pve402.hub.liveness import Liveness, Verdict
from pve402.hub.options import HubOptions
from pve402.hub.outbox import Outbox, TerminalSocket
from pve402.hub.slots import Slots
from pve402.proxmox import termproxy

_log = structlog.get_logger(__name__)

_QUIT_SECONDS = 0.5
#: How long we handle one guest's frames before others get their turn.
_TURN_SECONDS = 0.001


class Session:
    """A terminal on which the agent answers. Built by `connect.open_session`."""

    def __init__(
        self,
        socket: TerminalSocket,
        nonce: str,
        hello: Hello,
        options: HubOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        name: str = "",
    ) -> None:
        self.hello = hello
        self.last_used_at = clock()
        #: Takes bytes outside frames while a console is open.
        self.outside: Callable[[bytes], None] | None = None
        #: Input was typed into the console and nothing has come back yet.
        self.echo_owed = False
        self.ended = asyncio.Event()
        #: Something arrived that the agent does not send, or somebody else typed.
        self.is_tainted = False
        self.workplace = f"{hello.directory}/.pve402-s-{nonce}"  # as guest/agent.sh makes it
        self.variables: str | None = None  # file of the lease's; empty: none, None: not asked
        self._name = name
        self._socket = socket
        self._options = options
        self._clock = clock
        self._frames = frames.FrameReader(nonce)
        self._link = Link(nonce, again_seconds=options.acknowledge_seconds)
        self._outbox = Outbox(socket, self._link, clock)
        self._trailer = termproxy.TrailerFinder()
        self._slots = Slots(options.max_commands, options.max_streams)
        self._liveness = Liveness(options, clock())
        self._offences = offences.Offences(clock())
        self._heard = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start reading and writing."""
        metrics.SESSIONS.inc()
        for _ in self._receive(self.hello.rest):
            pass
        for work in (self._read(), self._write(), self._keep()):
            self._spawn(work)

    @property
    def is_busy(self) -> bool:
        """Whether anything runs on it."""
        return bool(self._slots)

    @property
    def silent_seconds(self) -> float:
        """How long nothing has arrived."""
        return self._clock() - self._liveness.last_received

    def open_channel(
        self, sink: FramedSink, invocation: Invocation, *, with_stdin: bool
    ) -> Channel:
        """Start a program. Raises TooManyCommands, SessionLost."""
        return self._start(sink, invocation, "xi %s" if with_stdin else "x %s /dev/null")

    def open_stream(self, sink: FramedSink, invocation: Invocation, *, terminal: bool) -> Channel:
        """Start a program of a stream. Raises TooManyStreams, SessionLost."""
        return self._start(sink, invocation, "xy %s" if terminal else "xi %s", is_stream=True)

    def open_console(self, sink: Sink, command: str) -> Channel:
        """Start a program whose output is the bytes outside frames."""
        channel = self._take_slot(sink)
        channel.is_console = True
        self._call(channel, f"xc {channel.name}", (command.encode(),))
        return channel

    def put(self, line: bytes, channel: Channel | None = None) -> None:
        """Queue one line for the agent, after the others of its channel."""
        self._outbox.put(line) if channel is None else self._outbox.put(line, channel.slot)

    def send_stdin(self, channel: Channel, piece: bytes) -> None:
        """Send one `printf` format; the caller has already used the channel's credit for it."""
        channel.sent_lines += 1
        self.put(b"i %d 'd%b'" % (channel.slot, piece), channel)

    def channel_of(self, sink: Sink) -> Channel | None:
        """The channel that feeds this sink, while it runs."""
        return next((channel for channel in self._slots if channel.sink is sink), None)

    async def signal(self, channel: Channel, name: str) -> bool:
        """Signal the process groups of a program; False if none is left."""
        answer = channel.expect_groups()
        self.put(f"k {channel.name} {name}".encode(), channel)
        self._expect_answers()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.silence_seconds):
                return await answer > 0
        return False

    def abandon(self, channel: Channel) -> None:
        """Kill the processes that carry a channel's output; the guest then reports its end."""
        if self._slots.hold(channel):
            self.put(f"z {channel.name}".encode(), channel)
            self._expect_answers()

    async def check_alive(self) -> bool:
        """Ask for a sign of life; False if none arrives soon."""
        self._heard.clear()
        self._ask()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.acknowledge_seconds):
                await self._heard.wait()
                return not self.ended.is_set()
        return False

    async def close(self, *, quit_agent: bool = True) -> None:
        """End the session; programs that still run in it are killed with it."""
        try:
            if quit_agent and not self.ended.is_set():
                await self._quit_agent()
        finally:
            self._end()
            if self._closing is not None:
                await asyncio.shield(self._closing)

    # starting programs

    def _take_slot(self, sink: Sink, *, is_stream: bool = False) -> Channel:
        if self.ended.is_set():
            raise errors.SessionLost
        return self._slots.take(
            sink, encoding=self.hello.encoding, send=self.put, is_stream=is_stream
        )

    def _start(
        self, sink: FramedSink, invocation: Invocation, call: str, *, is_stream: bool = False
    ) -> Channel:
        channel = self._take_slot(sink, is_stream=is_stream)
        sink.on_read = channel.output_read
        self._call(channel, call % channel.name, invocation.argv)
        return channel

    def _call(self, channel: Channel, call: str, words: tuple[bytes, ...]) -> None:
        """Have the agent start a program; frees its slot if that fails."""
        try:
            for line in agent.call_lines(call, channel.slot, words):
                self.put(line, channel)
            self._expect_answers()
        except BaseException:
            self._slots.release(channel)
            raise

    def _finish(self, channel: Channel, exit_code: int) -> None:
        """Free the slot first, so that nothing the sink does can keep it."""
        self._slots.release(channel)
        self.last_used_at = self._clock()
        channel.finish(exit_code)

    # receiving

    async def _read(self) -> None:
        await BatchedReader(self._socket, self._receive).run()
        self._end()

    def _receive(self, data: bytes) -> Iterator[None]:
        """Handle what arrived, in turns of bounded time."""
        self._liveness.received(self._clock())
        self._heard.set()
        until = self._clock() + _TURN_SECONDS
        for event in self._frames.feed(data):
            if self.ended.is_set():
                return
            self._take(event)
            if self._clock() > until:
                yield
                until = self._clock() + _TURN_SECONDS
        self._outbox.received(owed=self._is_answer_owed())

    def _take(self, event: frames.Event) -> None:
        match event:
            case frames.Frame():
                self._liveness.answered()
                self._take_frame(event)
            case frames.Outside():
                self._take_outside(event.data)
            case frames.Damaged():
                self._note(offences.GRAVE, "damaged")

    def _take_outside(self, data: bytes) -> None:
        if self._trailer.feed(data) is not None:
            if self.outside is None:
                self._end()
                return
            # A console may print these words too; after a real end, sending closes the socket.
            self._liveness.suspected(self._clock())
            self._ask()
        if self.outside is not None:
            self.echo_owed = False
            self.outside(data)

    def _take_frame(self, frame: frames.Frame) -> None:
        try:
            self._dispatch(frame.kind, frame.fields)
        except LinkBroken:
            self._end(quit_agent=True)
        except (ValueError, IndexError):
            self._note(offences.GRAVE, "damaged")

    def _dispatch(self, kind: str, fields: tuple[str, ...]) -> None:
        if kind in {"A", "R", "S"}:
            self._take_sequence(kind, fields)
            return
        channel = self._slots.find(fields[0])
        if channel is None or (channel.is_over and kind not in {"X", "Z"}):
            self._note(offences.LATE, "late")
            return
        try:
            if not self._take_channel_frame(channel, kind, fields[1:]):
                self._note(offences.LATE, "late")
        except errors.OutputDamaged as error:
            self._give_up(channel, error)
        except ValueError:
            self._give_up(channel, errors.OutputDamaged())

    def _take_channel_frame(self, channel: Channel, kind: str, fields: tuple[str, ...]) -> bool:
        """Returns whether the frame was expected. Raises OutputDamaged, ValueError."""
        match kind, fields:
            case (("o" | "e"), (number, length, data)):
                channel.take_piece(kind, number, length, data)
            case "X", (sequence, code, out, err):
                self._acknowledge(int(sequence))
                exit_code = channel.take_exit(code, out, err)
                self._finish(channel, exit_code)
            case "I", (count,):
                channel.take_stdin_passed(count)
            case "B", ():
                return channel.take_stdin_broken()
            case "G", (count,):
                return channel.take_groups(count)
            case "Z", ():
                self._finish(channel, 137 if channel.exit_code is None else channel.exit_code)
            case _:
                raise errors.OutputDamaged
        return True

    def _take_sequence(self, kind: str, fields: tuple[str, ...]) -> None:
        sequence = int(fields[0])
        if kind == "A":
            if not self._acknowledge(sequence):
                self._note(offences.LATE, "late")
            self._take_exit_codes(fields[1:])
            return
        self._note(offences.STRANGER if kind == "S" else offences.LATE, "stranger")
        self._link.expect(sequence, self._clock())
        self._outbox.wake()

    def _acknowledge(self, sequence: int) -> bool:
        """Free the window and send what waited for it; returns whether the number was new."""
        is_news = self._link.acknowledge(sequence)
        if is_news and self._link.has_waiting:
            self._outbox.wake()
        return is_news

    def _take_exit_codes(self, pairs: tuple[str, ...]) -> None:
        """Take the exit codes of programs whose child processes still hold their output."""
        for name, _, code in (pair.partition("=") for pair in pairs):
            channel = self._slots.find(name)
            if channel is not None and channel.exit_code is None and code.isdigit():
                channel.exit_code = min(int(code), 255)
                loop = asyncio.get_running_loop()
                loop.call_later(self._options.drain_seconds, self.abandon, channel)

    def _give_up(self, channel: Channel, error: errors.HubError) -> None:
        """Fail one channel; its slot is free again once the guest has released it."""
        channel.fail(error)
        self.put(f"k {channel.name} KILL".encode(), channel)
        self.abandon(channel)
        self._note(offences.GRAVE, error.code)

    def _note(self, weight: float, what: str) -> None:
        """Count something the agent would not send; too many end the session."""
        if weight > offences.LATE and not self.is_tainted:
            self.is_tainted = True
            _log.warning("hub.session_tainted", guest=self._name, first=what)
        if self._offences.add(weight, self._clock()):
            self._end(quit_agent=True)

    # sending

    async def _write(self) -> None:
        with suppress(OSError, LinkBroken):
            await self._outbox.run()
        self._end(quit_agent=True)

    def _is_answer_owed(self) -> bool:
        """Whether more will come. A needless packet stalls the next one."""
        if self._link.awaits_acknowledgement or self.echo_owed:
            return True
        return any(channel.owes for channel in self._slots)

    # keeping alive

    def _expect_answers(self) -> None:
        self._liveness.started(self._clock())

    async def _keep(self) -> None:
        while not self.ended.is_set():
            now = self._clock()
            self._check(now)
            resend = self._link.next_deadline() or now + self._options.acknowledge_seconds
            await asyncio.sleep(max(0.01, min(self._liveness.next_check(now), resend) - now))

    def _check(self, now: float) -> None:
        self._link.expire(now)
        if self._link.has_waiting:
            self._outbox.wake()
        match self._liveness.check(now, busy=self.is_busy):
            case Verdict.LOST:
                self._end()
            case Verdict.ASK:
                self._ask()
            case Verdict.WAIT:
                pass

    def _ask(self) -> None:
        """Ask for a sign of life and for ended programs; sending data reveals a dead socket."""
        self._liveness.asked(self._clock())
        if self._link.waiting_bytes < termproxy.SAFE_UNREAD_BYTES:
            self.put(b"h")

    # ending

    def _end(self, *, quit_agent: bool = False) -> None:
        if self.ended.is_set():
            return
        self.ended.set()
        metrics.SESSIONS.dec()
        self._heard.set()
        self._outbox.close()
        _log.info("hub.session_ended", guest=self._name, tainted=self.is_tainted)
        for channel in self._slots.clear():
            channel.fail(errors.SessionLost())
        self._closing = asyncio.create_task(self._close(quit_agent=quit_agent))

    async def _close(self, *, quit_agent: bool) -> None:
        """Stop all work and leave the terminal; nothing more is read from it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_QUIT_SECONDS):
                if quit_agent:
                    await self._send_quit()
                await self._socket.close()

    async def _quit_agent(self) -> None:
        """Tell the agent to quit, and wait until the terminal's session ends with it."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_QUIT_SECONDS):
                await self._send_quit()
                await self.ended.wait()

    async def _send_quit(self) -> None:
        await self._socket.send(termproxy.input_packet(b"\r" + agent.QUIT_LINE + b"\r"))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
