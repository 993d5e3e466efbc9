"""Boots the agent on a terminal in any state. Sans-I/O.

We do not know what is on the terminal: a prompt, a half-typed line, an open quote, an editor,
a running command, or an agent that another process left behind. So the steps are:

    wait until the terminal is attached      anything typed earlier is lost
    Ctrl-C, newline, the quit line           ends a command, a quote, a stale agent
    the boot line                            its answer shows that a shell read it
    rescue by rescue, the boot line again    editors, pagers, interpreters, stopped jobs
    the agent                                acknowledged piece by piece

`steps` is a generator of `Type` and `Hear`; its caller does the typing and listening.
"""

import re
from collections.abc import Generator
from dataclasses import dataclass, field

from pve402.hub import agent, errors, frames
from pve402.proxmox import termproxy

#: After `OK`: the longest wait for output to start, and the silence that ends it.
_ATTACH_SECONDS = 0.25
_QUIET_SECONDS = 0.02
#: Output other than the screen clearing that attaching always writes.
_BEYOND_CLEARING = re.compile(rb"\A(?:\x1b\[H\x1b\[J)?[^\x1b]|\A\x1b\[H\x1b\[J\x1b")
_ANYTHING = re.compile(rb"[\s\S]")

_INTERRUPT = b"\x03"
_NEWLINE = b"\n"
_BOOT_SECONDS = 0.35
_LAST_BOOT_SECONDS = 2.0
_PROGRAM_SECONDS = 5.0
_LARGEST_OUTPUT_BYTES = 256 * 1024
_LONGEST_ANSWER_BYTES = 4096
_PACKET_BYTES = termproxy.SAFE_UNREAD_BYTES - termproxy.HEADER_BYTES

# What a person would try, in order; the pauses keep ESC from joining the next key.
_RESCUES: tuple[tuple[bytes, ...], ...] = (
    (b"\x1b", b"\x1b", b":q!\r"),  # vi
    (b"q", _INTERRUPT),  # less, top
    (b"\x1a",),  # a program that ignores the interrupt: stop it
    (b"\x04", _INTERRUPT),  # interpreters, cat without signals
    (b"\x18n", _INTERRUPT),  # nano
    (_INTERRUPT, _INTERRUPT),
)
_RESCUE_PAUSE_SECONDS = 0.12

_NOT_RUNNING = re.compile(rb"Failed to get attach context|is not running|Failed to get init pid")
_NO_SHELL = re.compile(rb"Failed to exec|No such file or directory - |login: ")


@dataclass(frozen=True, kw_only=True)
class Type:
    """Send these bytes to the terminal."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Hear:
    """Listen until `until` matches, `quiet_seconds` pass in silence, or the limit passes.

    `quiet_seconds` counts from the last byte, and only after `after` has matched.
    """

    limit_seconds: float
    until: re.Pattern[bytes] | None = None
    after: re.Pattern[bytes] | None = None
    quiet_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What was heard since this `Hear` began."""

    output: bytes = field(default=b"", repr=False)
    matched: bool = False
    ended: bool = False


@dataclass(frozen=True, kw_only=True)
class Hello:
    """What the agent says about itself; `rest` is the output that followed."""

    encoding: str
    directory: str
    tools: frozenset[str]
    rest: bytes = field(repr=False)


class StaleAgent(Exception):
    """The terminal's session ended while we recovered it; open a new one."""


Steps = Generator[Type | Hear, Heard | None, Hello]


def steps(mark: str, nonce: str, *, patience: float = 1.0) -> Steps:
    """The steps to a running agent; returns its hello. Raise `patience` for a slow guest.

    Raises StaleAgent, GuestNotRunning, NoShell, TerminalStuck.
    """
    yield from _wait_until_attached()
    yield from _reach_loader(mark, _BOOT_SECONDS * patience)
    return (yield from _load(mark, nonce))


def _wait_until_attached() -> Generator[Type | Hear, Heard | None, None]:
    heard = yield Hear(
        limit_seconds=_ATTACH_SECONDS, after=_BEYOND_CLEARING, quiet_seconds=_QUIET_SECONDS
    )
    _check(heard)


def _reach_loader(mark: str, boot_seconds: float) -> Generator[Type | Hear, Heard | None, None]:
    clear = (_INTERRUPT, _NEWLINE + agent.QUIT_LINE + _NEWLINE)
    answer = re.compile(re.escape(agent.started(mark)))
    boot = agent.boot_line(mark) + _NEWLINE
    for rescue in ((), *_RESCUES):
        pause = _RESCUE_PAUSE_SECONDS if rescue else _QUIET_SECONDS
        if (yield from _press((*rescue, *clear), answer, pause)):
            return
        yield Type(data=boot)
        if _check((yield Hear(limit_seconds=boot_seconds, until=answer))).matched:
            return
    # A slow guest may only just have read the boot line.
    if not _check((yield Hear(limit_seconds=_LAST_BOOT_SECONDS, until=answer))).matched:
        raise errors.TerminalStuck


def _press(
    keystrokes: tuple[bytes, ...], answer: re.Pattern[bytes], pause_seconds: float
) -> Generator[Type | Hear, Heard | None, bool]:
    """Type each keystroke, then pause; True if the loader answers in the meantime."""
    for keystroke in keystrokes:
        yield Type(data=keystroke)
        heard = yield Hear(
            limit_seconds=max(pause_seconds, 0.1),
            until=answer,
            after=_ANYTHING,
            quiet_seconds=pause_seconds,
        )
        if _check(heard).matched:
            return True
    return False


def _load(mark: str, nonce: str) -> Generator[Type | Hear, Heard | None, Hello]:
    # Keystrokes that reach a slow loader late must not end up in front of its first line.
    yield Type(data=b"\r")
    packets = agent.load_packets(mark, nonce, _PACKET_BYTES)
    for packet in packets[:-1]:
        yield Type(data=packet)
        loaded = re.compile(re.escape(agent.loaded(mark)))
        heard = yield Hear(limit_seconds=_PROGRAM_SECONDS, until=loaded)
        if not _check(heard).matched:
            raise errors.TerminalStuck("the guest's shell stopped reading")
    yield Type(data=packets[-1])
    hello = re.compile(rb"\x1b_" + nonce.encode() + rb" [HF] [^\x1b]*\x1b\\")
    heard = _check((yield Hear(limit_seconds=_PROGRAM_SECONDS, until=hello)))
    found = hello.search(heard.output)
    if found is None:
        raise errors.NoShell("the guest's shell cannot run the agent")
    return _read_hello(found.group(), heard.output[found.end() :], nonce)


def _read_hello(hello: bytes, rest: bytes, nonce: str) -> Hello:
    frame = next(iter(frames.FrameReader(nonce).feed(hello)))
    if not isinstance(frame, frames.Frame) or frame.kind != "H" or len(frame.fields) != 3:
        raise errors.NoShell("the guest lacks a tool that the agent needs")
    _, encoding, place = frame.fields
    directory, *tools = place.split(",")
    if encoding not in {"base64", "hex"} or not re.fullmatch(r"(/[a-z.0-9-]+)+", directory):
        raise errors.NoShell("the guest's shell gives a meaningless answer")
    return Hello(
        encoding=encoding,
        directory=directory,
        tools=frozenset(tools),
        rest=rest,
    )


def _check(heard: Heard | None) -> Heard:
    """Check for the known messages a terminal shows when there is no shell."""
    if heard is None:
        raise RuntimeError("a Hear is answered by what was heard")
    if not heard.ended and not termproxy.find_trailer(heard.output):
        return heard
    if _NOT_RUNNING.search(heard.output):
        raise errors.GuestNotRunning
    if _NO_SHELL.search(heard.output):
        raise errors.NoShell
    raise StaleAgent


class Listener:
    """Decides when a `Hear` is over: takes bytes and times, returns `Heard`."""

    def __init__(self, hear: Hear, now: float) -> None:
        self._hear = hear
        self._limit = now + hear.limit_seconds
        self._last = now
        self._output = bytearray()
        self._searched_bytes = 0
        self._is_matched = False

    def deadline(self) -> float:
        """When to call `heard` again if nothing arrives."""
        quiet = self._hear.quiet_seconds
        if quiet is None or not self._started():
            return self._limit
        return min(self._limit, self._last + quiet)

    def feed(self, data: bytes, now: float) -> None:
        """Take received bytes; drops the oldest beyond a bound."""
        self._output += data
        self._last = now
        self._search()
        if len(self._output) > _LARGEST_OUTPUT_BYTES:
            del self._output[: -_LARGEST_OUTPUT_BYTES // 2]
            self._searched_bytes = len(self._output)

    def heard(self, now: float) -> Heard | None:
        """What was heard, or None while listening goes on."""
        if not (self._is_matched or now >= self.deadline()):
            return None
        return Heard(output=bytes(self._output), matched=self._is_matched)

    def end(self) -> Heard:
        """What was heard when nothing more can come."""
        return Heard(output=bytes(self._output), matched=self._is_matched, ended=True)

    def _search(self) -> None:
        """Look for the answer in what is new, and in the bytes before it that may begin it."""
        if self._is_matched or self._hear.until is None:
            return
        start = max(0, self._searched_bytes - _LONGEST_ANSWER_BYTES)
        self._is_matched = self._hear.until.search(self._output, start) is not None
        self._searched_bytes = len(self._output)

    def _started(self) -> bool:
        return self._hear.after is None or bool(self._hear.after.search(self._output))
