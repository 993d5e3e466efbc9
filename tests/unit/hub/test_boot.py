"""The steps from an unknown terminal to our program, against recorded and scripted terminals."""

import re
from typing import cast

import pytest
from tests.support import transcripts

from pve402.hub import agent, boot, errors
from pve402.hub.boot import Hear, Heard, Hello, Listener, StaleAgent, Type

MARK, NONCE = "0a1b2c3d", "0123456789ab"
CLEAR = b"\x1b[H\x1b[J"
HELLO = f"\x1b_{NONCE} H 1 base64 /run,setsid,script\x1b\\".encode()
TRAILER = b"\x1b[999H\r\n[EOF - dtach terminating]\r\r\n\x1b[?25h"


class Terminal:
    """Answers each thing typed from a table of patterns."""

    def __init__(self, greeting: bytes, answers: dict[bytes, bytes]) -> None:
        self.typed: list[bytes] = []
        self._pending = greeting
        self._answers = answers

    def type(self, data: bytes) -> None:
        self.typed.append(data)
        for pattern, answer in self._answers.items():
            if re.search(pattern, data):
                self._pending += answer

    def hear(self, hear: Hear) -> Heard:
        listener = Listener(hear, 0.0)
        listener.feed(self._pending, 0.0)
        self._pending = b""
        heard = listener.heard(listener.deadline() + 0.001)
        assert heard is not None
        return heard


def drive(terminal: Terminal) -> Hello:
    steps, heard = boot.steps(MARK, NONCE), None
    while True:
        try:
            step = steps.send(heard)
        except StopIteration as stop:
            hello: Hello = stop.value
            return hello
        heard = None
        if isinstance(step, Type):
            terminal.type(step.data)
        else:
            heard = terminal.hear(step)


LOADER = {
    re.escape(f"{MARK}.k\r").encode(): agent.loaded(MARK),
    re.escape(f"{MARK}.e\r").encode(): HELLO + b"behind",
}
SHELL = {re.escape(agent.boot_line(MARK)): agent.started(MARK), **LOADER}


def test_fresh_shell() -> None:
    terminal = Terminal(CLEAR + b"# ", SHELL)
    hello = drive(terminal)
    assert (hello.encoding, hello.directory, hello.rest) == ("base64", "/run", b"behind")
    assert hello.tools == {"setsid", "script"}
    assert terminal.typed[0] == b"\x03"
    assert max(map(len, terminal.typed)) < 3800


def test_editor_is_left_before_the_shell_answers() -> None:
    class Editor(Terminal):
        def type(self, data: bytes) -> None:
            if b":q!" in data:
                self._answers = SHELL
            super().type(data)

    terminal = Editor(CLEAR + b"~\r\n~", {})
    assert drive(terminal).encoding == "base64"
    assert terminal.typed.count(b"\x1b") == 2


def test_program_that_swallows_everything_is_stuck() -> None:
    with pytest.raises(errors.TerminalStuck):
        drive(Terminal(CLEAR, {}))


def test_stale_program_of_ours_ends_the_session() -> None:
    with pytest.raises(StaleAgent):
        drive(Terminal(CLEAR, {rb": pve402-quit": TRAILER}))


@pytest.mark.parametrize("name", ["terminal-3-open-on-stopped", "terminal-3b-open-on-stopped-tty"])
def test_recorded_console_of_a_stopped_guest(name: str) -> None:
    output = b"".join(transcripts.terminal_output(name)).removeprefix(b"OK")
    steps = boot.steps(MARK, NONCE)
    next(steps)
    with pytest.raises(errors.GuestNotRunning):
        steps.send(Heard(output=output, ended=True))


@pytest.mark.parametrize(
    "hello",
    [
        f"\x1b_{NONCE} F encoder\x1b\\",
        f"\x1b_{NONCE} H 1 base64\x1b\\",
        f"\x1b_{NONCE} H 1 rot13 /run\x1b\\",
        f"\x1b_{NONCE} H 1 hex /run/$(reboot)\x1b\\",
        f"\x1b_{NONCE} H 1 hex ../..\x1b\\",
    ],
)
def test_nonsense_for_a_hello_is_no_shell(hello: str) -> None:
    answers = {**SHELL, re.escape(f"{MARK}.e\r").encode(): hello.encode()}
    with pytest.raises(errors.NoShell):
        drive(Terminal(CLEAR + b"# ", answers))


def test_boot_line_is_short_and_typable() -> None:
    line = agent.boot_line(MARK)
    assert len(line) < 400
    assert not re.search(rb"[^\x20-\x7e]|!|ZZ", line)
    assert agent.started(MARK) not in line


def test_load_packets_hold_the_program_and_fit() -> None:
    packets = agent.load_packets(MARK, NONCE, 3700)
    assert max(map(len, packets)) <= 3700
    lines = b"".join(packets).split(b"\r")
    assert lines[0] == f"{MARK}.K={NONCE}".encode()
    assert lines.count(f"{MARK}.k".encode()) == len(packets) - 1


def test_listening_forgets_the_oldest_output() -> None:
    listener = Listener(Hear(limit_seconds=1.0, until=re.compile(b"end")), 0.0)
    for _ in range(100):
        listener.feed(b"x" * 10_000, 0.0)
    listener.feed(b"end", 0.0)
    heard = listener.heard(0.0)
    assert heard is not None
    assert heard.matched
    assert len(heard.output) < 300_000


@pytest.mark.parametrize("cut", range(1, len(b"the end")))
def test_an_answer_is_found_wherever_it_is_cut(cut: int) -> None:
    listener = Listener(Hear(limit_seconds=1.0, until=re.compile(b"the end")), 0.0)
    for data in (b"x" * 10_000, b"the end"[:cut], b"the end"[cut:]):
        listener.feed(data, 0.0)
    heard = listener.heard(0.0)
    assert heard is not None
    assert heard.matched


def test_output_is_searched_once() -> None:
    class Pattern:
        searched = 0

        def search(self, output: bytes, start: int = 0) -> None:
            self.searched += len(output) - start

    until = Pattern()
    listener = Listener(Hear(limit_seconds=1.0, until=cast("re.Pattern[bytes]", until)), 0.0)
    for _ in range(100):
        listener.feed(b"x" * 10_000, 0.0)
        assert listener.heard(0.0) is None
    assert until.searched <= 1.5 * 100 * 10_000


def test_quiet_counts_from_the_last_byte() -> None:
    hear = Hear(limit_seconds=1.0, after=re.compile(b"#"), quiet_seconds=0.02)
    listener = Listener(hear, 0.0)
    assert listener.deadline() == 1.0
    listener.feed(b"# ", 0.5)
    assert listener.heard(0.51) is None
    assert listener.heard(0.53) is not None
