"""Lines arrive once and in order whatever happens to them, within the window."""

import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib import resources

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pve402.hub.link import LONGEST_LINE, Link, LinkBroken
from pve402.proxmox.termproxy import SAFE_UNREAD_BYTES

NONCE = "abcdefabcdef"


class Program:
    """The guest's side of the link, as guest/agent.sh does it."""

    def __init__(self) -> None:
        self.next = 0
        self.executed: list[bytes] = []

    def read(self, line: bytes) -> tuple[str, int] | None:
        ours, _, line_left = line.partition(b" ")
        if ours != NONCE.encode():
            return ("S", self.next) if line else None
        token, _, rest = line_left.partition(b" ")
        body = rest.removesuffix(b" " + token)
        if token != b"%d.%d" % (self.next, len(body)) or body == rest:
            return "R", self.next
        self.next += 1
        self.executed.append(body.removesuffix(b";a"))
        return ("A", self.next) if body.endswith(b";a") else None


def run(lines: list[bytes], damage: random.Random, rate: float) -> Program:
    link, program, now = Link(NONCE, again_seconds=1.0), Program(), 0.0
    for line in lines:
        link.put(line)
    for _ in range(5000):
        now += 0.2
        link.expire(now)
        packet = link.take(now)
        assert link.unacknowledged_bytes <= SAFE_UNREAD_BYTES
        answers = [program.read(line) for line in hurt(packet, damage, rate).split(b"\r")]
        for answer in filter(None, answers):
            if answer[0] == "A":
                link.acknowledge(answer[1])
            else:
                link.expect(answer[1], now)
        if not packet and not link.has_waiting and program.next == len(lines):
            break
        if not packet and program.next < len(lines) and link.next_deadline() is None:
            link.put(b"h")  # the heartbeat finds what got lost silently
            lines.append(b"h")
    return program


def hurt(packet: bytes, damage: random.Random, rate: float) -> bytes:
    if not packet or damage.random() >= rate:
        return packet
    place = damage.randrange(len(packet))
    size = damage.randrange(1, 40)
    if damage.random() < 0.5:
        return packet[:place] + packet[place + size :]
    return packet[:place] + bytes([damage.choice(b"xyz\r ")]) + packet[place:]


def _is_a_line(data: bytes) -> bool:
    return b"\r" not in data and not data.endswith(b";a")


_lines = st.lists(st.binary(min_size=1, max_size=900).filter(_is_a_line), max_size=30)


@given(_lines)
def test_lines_arrive_in_order(lines: list[bytes]) -> None:
    assert run(list(lines), random.Random(0), 0.0).executed[: len(lines)] == lines


@settings(deadline=None)
@example([b"\0\0\0\0\x01", b"\0" * 11, b"\0"], 55824)  # one loss, from a line into the next
@given(_lines, st.integers())
def test_lines_arrive_once_over_a_bad_wire(lines: list[bytes], seed: int) -> None:
    try:
        program = run(list(lines), random.Random(seed), 0.15)
    except LinkBroken:
        return
    assert program.executed[: len(lines)] == lines


# Bodies that look like tokens, and tokens of which one continues the other.
TOKENS = [b"say '1 0.9'", b"say '9 1.9 '", b"say 'x  2.1'"]
CONTINUED = [b"h", b"1.1", *[b"a"] * 9, b"1"]


def packet_of(lines: list[bytes]) -> bytes:
    link = Link(NONCE, again_seconds=1.0)
    for line in lines:
        link.put(line)
    return link.take(0.0)


def with_losses(packet: bytes) -> Iterator[bytes]:
    """The packet without one piece of it, for every place and length."""
    for start in range(len(packet)):
        for end in range(start + 1, len(packet) + 1):
            yield packet[:start] + packet[end:]


@pytest.mark.parametrize(("lines", "times"), [(TOKENS, 2), (CONTINUED, 1)])
def test_no_single_loss_makes_another_line(lines: list[bytes], times: int) -> None:
    for rest in with_losses(packet_of(lines) * times):
        program = Program()
        for line in rest.split(b"\r"):
            program.read(line)
        assert program.executed == lines[: program.next]


# A line of nobody's starts each trial: the agent says so, and counts from 0 again.
_TRIAL = """
K=@ Q=0
say() { [ "$l" != trial ] || Q=0; printf '%s,' "$1"; }
quit() { exit; }
"""


@pytest.mark.parametrize("shell", ["bash", "dash", "busybox sh"])
def test_agent_executes_no_line_that_a_single_loss_made(shell: str) -> None:
    name, *arguments = shell.split()
    program = shutil.which(name) or pytest.fail(f"no {name}")
    agent = resources.files("pve402.hub").joinpath("guest/agent.sh").read_text("utf-8")
    script = _TRIAL.replace("@", NONCE) + agent[agent.index("while IFS= read -r l; do\n  case") :]
    packet = packet_of(TOKENS)
    trials = [packet, *with_losses(packet)]
    typed = b"".join(b"trial\r" + trial + b"\r" for trial in trials).replace(b"\r", b"\n")
    said = subprocess.run(
        [program, *arguments, "-c", script], input=typed, capture_output=True, check=True
    ).stdout.decode()
    whole = ["1 0.9", "9 1.9 ", "x  2.1"]
    heard = [
        [word for word in trial.split(",") if word and word[:2] not in {"R ", "S "}]
        for trial in re.split(r"S \d,", said)
    ]
    assert heard[1] == whole
    assert all(words == whole[: len(words)] for words in heard)


def test_window_is_kept_without_acknowledgement() -> None:
    link = Link(NONCE, again_seconds=1.0)
    for _ in range(20):
        link.put(b"x" * 1000)
    assert len(link.take(0.0)) <= SAFE_UNREAD_BYTES
    assert link.take(0.1) == b""
    assert link.awaits_acknowledgement


def test_small_lines_ask_for_nothing() -> None:
    link = Link(NONCE, again_seconds=1.0)
    link.put(b"x 0.1 /dev/null 'true'")
    packet = link.take(0.0)
    assert packet == b"abcdefabcdef 0.22 x 0.1 /dev/null 'true' 0.22\r"
    assert not link.awaits_acknowledgement


def test_line_that_never_arrives_breaks_the_link() -> None:
    link = Link(NONCE, again_seconds=1.0)
    link.put(b"x" * 1500)
    for second in range(5):
        link.expire(second * 2.0)
        assert link.take(second * 2.0)
    link.expire(20.0)
    with pytest.raises(LinkBroken):
        link.take(20.0)


def test_acknowledging_what_was_never_sent_breaks_the_link() -> None:
    link = Link(NONCE, again_seconds=1.0)
    with pytest.raises(LinkBroken):
        link.acknowledge(1)


def test_too_long_a_line_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        Link(NONCE, again_seconds=1.0).put(b"x" * (LONGEST_LINE + 1))
