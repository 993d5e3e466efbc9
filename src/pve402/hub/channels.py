"""What runs on one slot of a session: a program's pieces, or a console's bytes.

A channel checks everything the guest says about it: sequence numbers, lengths, encoding. A
bad piece fails only this channel.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pve402.hub import agent, errors
from pve402.hub.credit import Credit
from pve402.hub.request import EventKind

_STREAMS = {"o": EventKind.STDOUT, "e": EventKind.STDERR}
_LETTERS = {kind: letter for letter, kind in _STREAMS.items()}
#: Lines of stdin that may wait in the guest for the program to read; they fit in one pipe page.
STDIN_LINES = 2
#: Largest piece of output once decoded.
_LARGEST_PIECE_BYTES = 64 * 1024


class Sink(Protocol):
    """Where a channel's output goes."""

    def add_output(self, kind: EventKind, data: bytes) -> bool: ...

    def finish(self, exit_code: int) -> None: ...

    def fail(self, error: errors.HubError) -> None: ...


class FramedSink(Sink, Protocol):
    """Where a program's output goes; says how much of it was read."""

    on_read: "OnRead"


OnRead = Callable[[EventKind, int], None]
#: Sends a line to the agent, after the others of the channel.
Send = Callable[[bytes, "Channel"], None]


@dataclass(kw_only=True)
class Channel:
    """One program in the guest. `name` is `SLOT.GENERATION`."""

    slot: int
    generation: int
    sink: Sink = field(repr=False)
    encoding: str
    send: "Send" = field(repr=False)
    #: Exit code, if it arrived before the output ended.
    exit_code: int | None = None
    stdin_closed: bool = False
    is_over: bool = False
    stdin_credit: asyncio.Semaphore = field(
        default_factory=lambda: asyncio.Semaphore(STDIN_LINES), repr=False
    )
    #: Who waits for the answer to a signal; the agent answers in order.
    _signals: list[asyncio.Future[int]] = field(default_factory=list, repr=False)
    _numbers: dict[str, int] = field(default_factory=lambda: {"o": 0, "e": 0}, repr=False)
    _credits: dict[str, Credit] = field(
        default_factory=lambda: {"o": Credit(), "e": Credit()}, repr=False
    )
    #: Lines of stdin sent, and how many of them the program's pipe has taken.
    sent_lines: int = 0
    passed_lines: int = 0
    #: A console's bytes are unframed; only its echo shows whether it still owes output.
    is_console: bool = False
    _dropping: bool = False
    _took_stdin: bool = False

    @property
    def name(self) -> str:
        """The agent's name for this channel."""
        return f"{self.slot}.{self.generation}"

    @property
    def owes(self) -> bool:
        """Whether the guest will send more before we send anything else.

        A program reading stdin answers what it was given and then waits. After that answer it
        owes nothing, and nudging for more would delay its next input.
        """
        if self.is_console:
            return False
        return not self.sent_lines or self.passed_lines < self.sent_lines or self._took_stdin

    def take_piece(self, stream: str, number: str, length: str, data: str) -> None:
        """Take a piece of output. Raises OutputDamaged if it is not the expected one."""
        if number != str(self._numbers[stream]) or length != str(len(data)) or not data:
            raise errors.OutputDamaged
        self._numbers[stream] += 1
        self._took_stdin = False
        if self._dropping:
            return
        decoded = self._decode(data)
        self._credits[stream].arrived(len(decoded), len(data))
        if not self.sink.add_output(_STREAMS[stream], decoded):
            self._dropping = True
            self.send(agent.drop(self.name), self)

    def output_read(self, kind: EventKind, size: int) -> None:
        """Somebody has read so many bytes of output, or nobody has to any more."""
        stream = _LETTERS[kind]
        limit = self._credits[stream].read(size)
        if limit is not None and not self.is_over and not self._dropping:
            self.send(agent.grant(self.name, stream, limit), self)

    def take_exit(self, code: str, pieces_out: str, pieces_err: str) -> int:
        """Return the exit code of the ended program. Raises OutputDamaged if pieces are missing."""
        if not (code.isdigit() and len(code) <= 3):
            raise errors.OutputDamaged
        if (pieces_out, pieces_err) != (str(self._numbers["o"]), str(self._numbers["e"])):
            raise errors.OutputDamaged
        return int(code)

    def take_stdin_passed(self, count: str) -> None:
        """The program's pipe took lines of stdin. Raises OutputDamaged if those were never sent."""
        passed = int(count) if count.isdigit() and len(count) < 16 else 0
        if not self.passed_lines < passed <= self.sent_lines:
            raise errors.OutputDamaged
        while self.passed_lines < passed:
            self.passed_lines += 1
            self._took_stdin = True
            self.stdin_credit.release()

    def take_stdin_broken(self) -> bool:
        """Nothing reads the program's stdin any more; returns whether this is new."""
        is_news = not self.stdin_closed
        self.stdin_closed = True
        self.stdin_credit.release()
        return is_news

    def expect_groups(self) -> asyncio.Future[int]:
        """Wait for the number of process groups that the next signal reaches."""
        answer = asyncio.get_running_loop().create_future()
        self._signals = [*(signal for signal in self._signals if not signal.done()), answer]
        return answer

    def take_groups(self, count: str) -> bool:
        """Take the number of signalled process groups; returns whether anyone waited for it."""
        while self._signals:
            answer = self._signals.pop(0)
            if not answer.done():
                answer.set_result(int(count) if count.isdigit() and len(count) < 6 else 0)
                return True
        return False

    def finish(self, exit_code: int) -> None:
        """End the channel with an exit code."""
        if not self.is_over:
            self._close()
            self.sink.finish(exit_code)

    def fail(self, error: errors.HubError) -> None:
        """End the channel with an error."""
        if not self.is_over:
            self._close()
            self.sink.fail(error)

    def _close(self) -> None:
        self.is_over = True
        self.stdin_closed = True
        self.stdin_credit.release()
        while self.take_groups("0"):
            pass

    def _decode(self, data: str) -> bytes:
        if len(data) > 2 * _LARGEST_PIECE_BYTES:
            raise errors.OutputDamaged
        try:
            if self.encoding == "hex":
                return bytes.fromhex(data)
            return base64.b64decode(data, validate=True)
        except (ValueError, binascii.Error):
            raise errors.OutputDamaged from None
