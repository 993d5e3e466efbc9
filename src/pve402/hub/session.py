"""One warm session: a terminal with the agent on it, and the channels that share it.

The session reads everything that comes, gives each frame to its channel, and sends what is
queued in one loop turn as one packet. When to nudge the chain and when to doubt it is told by
`nudge` and `liveness`; what gets there, and in which order, by `link`.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Protocol

import structlog

from pve402.hub import errors, frames, metrics
from pve402.hub.agent import QUIT_LINE
from pve402.hub.batching import BatchedReader
from pve402.hub.boot import Hello
from pve402.hub.channels import Channel, Sink
from pve402.hub.invocation import Invocation
from pve402.hub.link import Link, LinkBroken
from pve402.hub.liveness import Liveness, Verdict
from pve402.hub.nudge import Nudge
from pve402.hub.options import HubOptions
from pve402.hub.quoting import quote_words
from pve402.proxmox import termproxy

_log = structlog.get_logger(__name__)

_QUIT_SECONDS = 0.5


class TerminalSocket(Protocol):
    """An authenticated terminal: bytes as binary messages, nothing at the end."""

    async def send(self, data: bytes) -> None: ...

    async def receive(self) -> bytes | None: ...

    def pause_reading(self, seconds: float) -> None: ...

    async def close(self) -> None: ...


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
        self.strangers = 0
        self.damaged_frames = 0
        self.last_used_at = clock()
        #: Takes bytes outside of frames while a console is open.
        self.outside: Callable[[bytes], None] | None = None
        #: Something was typed into the console and nothing has come back yet.
        self.echo_owed = False
        self.ended = asyncio.Event()
        self._name = name
        self._socket = socket
        self._options = options
        self._clock = clock
        self._frames = frames.FrameReader(nonce)
        self._link = Link(nonce, again_seconds=options.acknowledge_seconds)
        self._trailer = termproxy.TrailerFinder()
        self._channels: dict[int, Channel] = {}
        self._generations = [0] * options.max_commands
        self._wake = asyncio.Event()
        self._liveness = Liveness(options, clock())
        self._heard = asyncio.Event()
        self._nudge_timer = Nudge(self._nudge)
        self._resize: bytes = b""
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to read and to write."""
        metrics.SESSIONS.inc()
        self._receive(self.hello.rest)
        for work in (self._read(), self._write(), self._keep()):
            self._spawn(work)

    @property
    def is_busy(self) -> bool:
        """Whether anything runs on it."""
        return bool(self._channels)

    @property
    def is_tainted(self) -> bool:
        """Whether somebody else was noticed on the terminal; a new session helps."""
        return bool(self.strangers or self.damaged_frames)

    @property
    def silent_seconds(self) -> float:
        """Since when nothing has come."""
        return self._clock() - self._liveness.last_received

    def open_channel(self, sink: Sink, invocation: Invocation, *, with_stdin: bool) -> Channel:
        """Start a program. Raises TooManyCommands, SessionLost."""
        channel = self._allocate(sink)
        quoted = quote_words(list(invocation.argv))
        call = f"xi {channel.name}" if with_stdin else f"x {channel.name} /dev/null"
        for line in quoted.lines:
            self.put(line.encode())
        self.put(f"{call} {quoted.text}".encode())
        self._expect_answers()
        return channel

    def open_console(self, sink: Sink, command: str) -> Channel:
        """Start a program whose output is the bytes outside of frames."""
        channel = self._allocate(sink)
        quoted = quote_words([command.encode()])
        for line in quoted.lines:
            self.put(line.encode())
        self.put(f"xc {channel.name} {quoted.text}".encode())
        self._expect_answers()
        return channel

    def put(self, line: bytes) -> None:
        """Queue one line for the agent."""
        self._link.put(line)
        self._wake.set()

    def resize(self, columns: int, rows: int) -> None:
        """Tell the chain the window's size; the last one wins."""
        self._resize = termproxy.resize_packet(columns, rows)
        self._wake.set()

    def channel_of(self, sink: Sink) -> Channel | None:
        """The channel whose output goes there, while it runs."""
        return next((c for c in self._channels.values() if c.sink is sink), None)

    async def signal(self, channel: Channel, name: str) -> bool:
        """Signal the process groups of a program; False if there was none (any more)."""
        channel.groups_signalled = asyncio.get_running_loop().create_future()
        self.put(f"k {channel.name} {name}".encode())
        self._expect_answers()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.silence_seconds):
                return await channel.groups_signalled > 0
        return False

    def abandon(self, channel: Channel) -> None:
        """Kill what carries a channel's output; its end is answered by the guest."""
        if self._is_current(channel):
            self.put(f"z {channel.name}".encode())
            self._expect_answers()

    async def check_alive(self) -> bool:
        """Ask for a sign of life; False if none comes soon."""
        self._heard.clear()
        self._ask()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.acknowledge_seconds):
                await self._heard.wait()
                return not self.ended.is_set()
        return False

    async def close(self, *, quit_agent: bool = True) -> None:
        """End the session; programs that still run in it are killed with it."""
        if quit_agent and not self.ended.is_set():
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_QUIT_SECONDS):
                    await self._socket.send(termproxy.input_packet(b"\r" + QUIT_LINE + b"\r"))
                    await self.ended.wait()
        self._end()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_QUIT_SECONDS):
                await self._socket.close()

    def _allocate(self, sink: Sink) -> Channel:
        if self.ended.is_set():
            raise errors.SessionLost
        free = next((n for n in range(self._options.max_commands) if n not in self._channels), None)
        if free is None:
            raise errors.TooManyCommands
        self._generations[free] += 1
        channel = Channel(
            slot=free,
            generation=self._generations[free],
            sink=sink,
            encoding=self.hello.encoding,
            drop_output=lambda channel: self.put(f"t {channel.slot}".encode()),
        )
        self._channels[free] = channel
        return channel

    def _is_current(self, channel: Channel) -> bool:
        return self._channels.get(channel.slot) is channel

    def _release(self, channel: Channel) -> None:
        if self._is_current(channel):
            del self._channels[channel.slot]
        self.last_used_at = self._clock()

    # receiving

    async def _read(self) -> None:
        await BatchedReader(self._socket, self._receive).run()
        self._end()

    def _receive(self, data: bytes) -> None:
        self._liveness.received(self._clock())
        self._heard.set()
        for event in self._frames.feed(data):
            match event:
                case frames.Frame():
                    self._liveness.answered()
                    self._take_frame(event)
                case frames.Outside():
                    self._take_outside(event.data)
                case frames.Damaged():
                    self.damaged_frames += 1
        self._nudge_timer.received(owed=self._is_answer_owed() and not self.ended.is_set())

    def _take_outside(self, data: bytes) -> None:
        if self._trailer.feed(data) is not None:
            if self.outside is None:
                self._end()
                return
            # A console may print these words too: a real end closes the socket on data.
            self._liveness.suspected(self._clock())
            self._ask()
        if self.outside is not None:
            self.echo_owed = False
            self.outside(data)

    def _take_frame(self, frame: frames.Frame) -> None:
        try:
            self._dispatch(frame.kind, frame.fields)
        except LinkBroken:
            self._end()
        except (ValueError, IndexError):
            self.damaged_frames += 1

    def _dispatch(self, kind: str, fields: tuple[str, ...]) -> None:
        if kind in {"A", "R", "S"}:
            self._take_sequence(kind, fields)
            return
        channel = self._find(fields[0])
        if channel is None:
            return
        try:
            self._take_channel_frame(channel, kind, fields[1:])
        except errors.OutputDamaged as error:
            self._give_up(channel, error)
        except ValueError:
            self._give_up(channel, errors.OutputDamaged())

    def _take_channel_frame(self, channel: Channel, kind: str, fields: tuple[str, ...]) -> None:
        match kind, fields:
            case (("o" | "e"), (number, length, data)):
                channel.take_piece(kind, number, length, data)
            case "X", (sequence, code, out, err):
                self._link.acknowledge(int(sequence))
                channel.take_exit(code, out, err)
                self._release(channel)
            case "I", (count,):
                channel.take_stdin_passed(count)
            case "B", ():
                channel.take_stdin_broken()
            case "G", (count,):
                channel.take_groups(count)
            case "Z", ():
                channel.finish(137 if channel.exit_code is None else channel.exit_code)
                self._release(channel)
            case _:
                raise errors.OutputDamaged

    def _take_sequence(self, kind: str, fields: tuple[str, ...]) -> None:
        sequence = int(fields[0])
        if kind == "A":
            self._link.acknowledge(sequence)
            self._take_exit_codes(fields[1:])
            return
        if kind == "S":
            self.strangers += 1
            _log.warning("hub.stranger_on_terminal", guest=self._name)
        self._link.expect(sequence, self._clock())
        self._wake.set()

    def _take_exit_codes(self, pairs: tuple[str, ...]) -> None:
        """Programs that ended while something they started still holds their output."""
        for name, _, code in (pair.partition("=") for pair in pairs):
            channel = self._find(name)
            if channel is not None and channel.exit_code is None and code.isdigit():
                channel.exit_code = min(int(code), 255)
                loop = asyncio.get_running_loop()
                loop.call_later(self._options.drain_seconds, self.abandon, channel)

    def _find(self, name: str) -> Channel | None:
        slot = name.partition(".")[0]
        channel = self._channels.get(int(slot)) if slot.isdigit() and len(slot) < 4 else None
        return channel if channel is not None and channel.name == name else None

    def _give_up(self, channel: Channel, error: errors.HubError) -> None:
        """Fail one channel; its slot is free again once the guest has let go of it."""
        _log.warning("hub.channel_failed", guest=self._name, error=error.code)
        self.damaged_frames += 1
        channel.fail(error)
        self.put(f"k {channel.name} KILL".encode())
        self.abandon(channel)

    # sending

    async def _write(self) -> None:
        try:
            while not self.ended.is_set():
                await self._wake.wait()
                self._wake.clear()
                await self._flush()
        except (OSError, LinkBroken):
            self._end()

    async def _flush(self) -> None:
        resize, self._resize = self._resize, b""
        if resize:
            await self._socket.send(resize)
        packet = self._link.take(self._clock())
        if packet:
            self._nudge_timer.sent()
            await self._socket.send(termproxy.input_packet(packet))

    def _is_answer_owed(self) -> bool:
        """Whether more is to come. What is sent needlessly stalls what is sent next."""
        if self._link.awaits_acknowledgement or self.echo_owed:
            return True
        return len(self._channels) > (self.outside is not None)

    def _nudge(self) -> None:
        if not self._link.has_waiting and not self.ended.is_set():
            self._spawn(self._send_no_operation())

    async def _send_no_operation(self) -> None:
        with suppress(OSError):
            await self._socket.send(termproxy.NO_OPERATION)

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
            self._wake.set()
        match self._liveness.check(now, busy=self.is_busy):
            case Verdict.LOST:
                self._end()
            case Verdict.ASK:
                self._ask()
            case Verdict.WAIT:
                pass

    def _ask(self) -> None:
        """Ask for a sign of life, and for programs that ended; real data shows a dead socket."""
        self._liveness.asked(self._clock())
        if self._link.waiting_bytes < termproxy.SAFE_UNREAD_BYTES:
            self.put(b"h")

    def _end(self) -> None:
        if self.ended.is_set():
            return
        self.ended.set()
        metrics.SESSIONS.dec()
        self._heard.set()
        self._nudge_timer.sent()
        self._wake.set()
        _log.info("hub.session_ended", guest=self._name)
        for channel in tuple(self._channels.values()):
            channel.fail(errors.SessionLost())
        self._channels.clear()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
