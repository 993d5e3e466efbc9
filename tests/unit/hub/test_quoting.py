"""What is written for shells comes out of real shells as it went in."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pve402.hub import agent, quoting
from pve402.hub.link import LONGEST_LINE

SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "ash": ["busybox", "ash"]}
# The functions of guest/agent.sh that take part, and a program that shows its words.
AGENT = b"""LC_ALL=C
N='
'
d() { printf "$2" >>"$D/$1.a"; }
show() { [ $# -gt 0 ] || . "$D/0.a"; printf '%s\\177' "$@" | tr '\\177' '\\000'; }
"""
_values = st.lists(
    st.binary(max_size=400).map(lambda data: data.replace(b"\0", b"").replace(b"\x7f", b"")),
    min_size=1,
    max_size=6,
)


@pytest.fixture(params=SHELLS.values(), ids=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    command: list[str] = request.param
    return command


def through(shell: list[str], script: bytes) -> bytes:
    return subprocess.run([*shell], input=script, capture_output=True, check=True).stdout


def shown(shell: list[str], values: list[bytes], folder: Path) -> list[bytes]:
    lines = b"\n".join(agent.call_lines("show", 0, values))
    script = AGENT + b"D='%b'\n" % str(folder).encode() + lines + b"\n"
    return through(shell, script).split(b"\0")[:-1]


@settings(max_examples=15, deadline=None)
@given(values=_values)
def test_values_survive(values: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> None:
    for shell in SHELLS.values():
        assert shown(shell, values, tmp_path_factory.mktemp("d")) == values


@pytest.mark.parametrize(
    "values",
    [
        [b"", b"-n", b"a'b\"c`d$e\\", b"line\nline\n\n", b"%s %d\\n"],
        [bytes(range(1, 127))],
        [bytes(range(128, 256)), "ü€😀".encode()],
        [b"x" * 5000, b"'" * 3000, b"\n" * 2000],
        [b"a word of twenty-seven bytes"] * 200,
        [b"w"] * 4000,
        [b"", *[b"'\n"] * 900],
        ["é".encode() * 30_000, b"end"],
        [b"-e", b"--", b"-"] * 300,
    ],
)
def test_awkward_values_survive(shell: list[str], values: list[bytes], tmp_path: Path) -> None:
    assert shown(shell, values, tmp_path) == values


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=300))
@settings(max_examples=50, deadline=None)
def test_lines_fit_the_link(values: list[bytes]) -> None:
    lines = list(agent.call_lines("xi 15.999999", 15, values))

    assert max(map(len, lines)) <= LONGEST_LINE
    assert not any(byte in line for line in lines for byte in b"\n\r\0\x1c")


def print_formats(shell: list[str], data: bytes, longest: int) -> bytes:
    script = b'LC_ALL=C\nwhile IFS= read -r l; do printf "${l#d}"; done'
    lines = b"".join(b"d%b\n" % piece for piece in quoting.formats(data, longest))
    run = subprocess.run([*shell, "-c", script], input=lines, capture_output=True, check=True)
    return run.stdout


@settings(max_examples=15, deadline=None)
@given(data=st.binary(max_size=3000), longest=st.integers(8, 1780))
def test_stdin_survives(data: bytes, longest: int) -> None:
    for shell in SHELLS.values():
        assert print_formats(shell, data, longest) == data


def test_every_byte_of_stdin_survives(shell: list[str]) -> None:
    data = bytes(range(256)) * 3 + b"-%-\\-'" * 500
    assert print_formats(shell, data, 100) == data


@given(data=st.binary(max_size=5000), longest=st.integers(8, 200))
def test_formats_are_bounded(data: bytes, longest: int) -> None:
    pieces = list(quoting.formats(data, longest))

    assert all(0 < len(piece) <= longest for piece in pieces)
    assert not any(byte in piece for piece in pieces for byte in b"\n\r\0'\x1c")
