"""What others wrote, as an agent reads it."""

import pytest
from tests.support import steering

from pve402.mcp_server import texts


@pytest.mark.parametrize("text", steering.TEXTS.values(), ids=steering.TEXTS)
def test_nothing_steers_a_terminal_or_hides(text: str) -> None:
    for shown in (texts.cleaned(text).text, texts.from_terminal(text)):
        assert shown.replace("\n", "").replace("\t", "").isprintable()


def test_what_is_replaced_is_counted() -> None:
    clean = texts.cleaned("a\u202eb\tc\r\nd\re\n")

    assert clean == texts.Cleaned(text="a\ufffdb\tc\r\nd\ufffde\n", replaced=2)


def test_colours_and_titles_of_programs_are_dropped() -> None:
    assert texts.from_terminal("\x1b[1;31mred\x1b[0m\x1b]0;title\x07\r\nnext") == "red\nnext"


def test_short_output_is_whole() -> None:
    kept = texts.Kept(10)
    kept.add(b"12345")
    kept.add(b"67890")

    assert (kept.text(), kept.left_out_bytes, kept.seen_bytes) == ("1234567890", 0, 10)


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_of_long_output_the_middle_is_left_out(piece: int) -> None:
    kept, data = texts.Kept(10), b"begin" + b"-" * 990 + b"ended"
    for at in range(0, len(data), piece):
        kept.add(data[at : at + piece])

    assert kept.text() == "begin\n[... 990 bytes left out here ...]\nended"
    assert (kept.left_out_bytes, kept.seen_bytes) == (990, 1000)


@pytest.mark.parametrize("piece", [1, 4, 100])
def test_a_page_begins_where_it_is_asked_to(piece: int) -> None:
    kept, data = texts.Kept(4, skipped_bytes=3), b"0123456789"
    for at in range(0, len(data), piece):
        kept.add(data[at : at + piece])

    assert kept.text() == "3456\n[... 3 bytes left out here ...]\n"


@pytest.mark.parametrize("text", ["l0123", "2001:db8::1", "0.002640", "standard-lxc", "a/b:c@d_e"])
def test_a_word_is_told_as_it_is(text: str) -> None:
    assert texts.word(text) == text


@pytest.mark.parametrize(
    "text", ["", "two words", "line\nend", "x" * 101, "\u202ea", "-rf", "pve402_" + "5e" * 32]
)
def test_a_sentence_is_no_word(text: str) -> None:
    assert texts.word(text) == "?"
