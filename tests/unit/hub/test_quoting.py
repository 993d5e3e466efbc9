"""What is written for shells comes out of real shells as it went in."""

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pve402.hub.link import LONGEST_LINE
from pve402.hub.quoting import quote_words, stdin_formats

SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "ash": ["busybox", "ash"]}
PRELUDE = b"LC_ALL=C\nN='\n'\n" + (
    rb"""v() { l=$(printf "$2."); eval "V$1=\$V$1\${l%.}"; }""" + b"\n"
)
_values = st.lists(
    st.binary(max_size=400).map(lambda data: data.replace(b"\0", b"")), min_size=1, max_size=6
)


@pytest.fixture(params=SHELLS.values(), ids=SHELLS)
def shell(request: pytest.FixtureRequest) -> list[str]:
    command: list[str] = request.param
    return command


def through(shell: list[str], script: bytes) -> bytes:
    return subprocess.run([*shell, "-c", script], capture_output=True, check=True).stdout


def echo_values(shell: list[str], values: list[bytes]) -> list[bytes]:
    words = quote_words(values)
    lines = "".join(f"{line}\n" for line in words.lines)
    script = PRELUDE + f"{lines}printf '%s\\177' {words.text} | tr '\\177' '\\000'".encode()
    return through(shell, script).split(b"\0")[:-1]


@settings(max_examples=15, deadline=None)
@given(values=_values)
def test_values_survive(values: list[bytes]) -> None:
    plain = [value.replace(b"\x7f", b"") for value in values]
    for shell in SHELLS.values():
        assert echo_values(shell, plain) == plain


def test_awkward_values_survive(shell: list[str]) -> None:
    values = [b"", b"-n", b"a'b\"c`d$e\\", b"line\nline\n\n", b"%s %d\\n", bytes(range(1, 127))]
    values += [bytes(range(128, 256)), "ü€😀".encode(), b"x" * 5000, b"'" * 3000, b"\n" * 2000]
    assert echo_values(shell, values) == values


def test_lines_fit_the_link() -> None:
    words = quote_words([b"'\n" * 4000, bytes(range(1, 256)) * 20, b"x" * 2000, b"a"])
    assert max(map(len, words.lines)) < LONGEST_LINE - 50
    assert len(words.text) < 1300


def print_formats(shell: list[str], data: bytes, longest: int) -> bytes:
    script = b'LC_ALL=C\nwhile IFS= read -r l; do printf "${l#d}"; done'
    lines = b"".join(b"d%b\n" % piece for piece, _ in stdin_formats(data, longest))
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
def test_stdin_pieces_are_bounded_and_complete(data: bytes, longest: int) -> None:
    pieces = list(stdin_formats(data, longest))
    assert all(0 < len(piece) <= longest for piece, _ in pieces)
    assert sum(count for _, count in pieces) == len(data)
    assert not any(byte in piece for piece, _ in pieces for byte in b"\n\r\0'\x1c")
