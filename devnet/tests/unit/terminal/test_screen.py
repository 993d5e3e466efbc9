"""What output leaves on the screen of the graphical console."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402_devnet.terminal import font
from pve402_devnet.terminal.screen import Screen


def draw(*parts: bytes, columns: int = 10, rows: int = 3) -> tuple[list[str], bytes]:
    answers = bytearray()
    screen = Screen(columns, rows, answers.extend)
    for part in parts:
        screen.feed(part)
    return [screen.line(row).rstrip() for row in range(rows)], bytes(answers)


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        (b"ab\r\ncd", ["ab", "cd", ""]),
        (b"abc\rX", ["Xbc", "", ""]),
        (b"ab\bX", ["aX", "", ""]),
        (b"a\tb", ["a       b", "", ""]),
        (b"0123456789ab", ["0123456789", "ab", ""]),
        (b"1\r\n2\r\n3\r\n4", ["2", "3", "4"]),
        (b"\x1b[2;3HX", ["", "  X", ""]),
        (b"\x1b[99;99HX", ["", "", "         X"]),
        (b"abc\x1b[2DX", ["aXc", "", ""]),
        (b"abc\r\x1b[K", ["", "", ""]),
        (b"abc\x1b[2G\x1b[1K", ["  c", "", ""]),
        (b"a\r\nb\r\nc\x1b[2;1H\x1b[J", ["a", "", ""]),
        (b"a\r\nb\x1b[H\x1b[J", ["", "", ""]),
        (b"a\r\nb\x1b[2J", ["", "", ""]),
        (b"\x1b[1;31mred\x1b[0m", ["red", "", ""]),
        (b"\x1b]0;title\x07x", ["x", "", ""]),
        (b"\x1b[?2004hx\x1b(By", ["xy", "", ""]),
        (b"\xc3\xa9\xff", ["\u00e9\ufffd", "", ""]),
        (b"\x00\x07a\x7f", ["a", "", ""]),
    ],
)
def test_output_is_drawn(output: bytes, lines: list[str]) -> None:
    assert draw(output)[0] == lines
    assert draw(*(bytes([byte]) for byte in output))[0] == lines


def test_the_position_report_is_answered() -> None:
    assert draw(b"ab\r\n$ \x1b[6n")[1] == b"\x1b[2;3R"


def test_changed_rows_are_remembered() -> None:
    screen = Screen(10, 3, lambda _: None)
    screen.changed.clear()
    screen.feed(b"\x1b[2Hx")
    assert screen.changed == {1}


@given(st.lists(st.binary(max_size=300)))
def test_any_output_is_survived(parts: list[bytes]) -> None:
    lines, _ = draw(*parts)
    assert len(lines) == 3
    assert max(map(len, lines)) <= 10


@given(st.lists(st.sampled_from([b"\x1b[", b"A", b"999999999", b";", b"H", b"J", b"\n", b"x"])))
def test_any_sequence_is_survived(parts: list[bytes]) -> None:
    assert len(draw(b"".join(parts))[0]) == 3


def test_a_glyph_is_drawn_as_its_pixels() -> None:
    rows = [f"{row:06b}".replace("0", ".").replace("1", "#") for row in font.rows("L")]
    assert rows == ["......", *["#....."] * 6, "#####.", "......", "......"]


@pytest.mark.parametrize("character", ["\u00e9", "\u4e2d", "\x01"])
def test_what_has_no_glyph_is_a_box(character: str) -> None:
    assert font.rows(character)[1] == font.rows(character)[7] == 0b111110
