"""Frames are found however the stream is cut, and nothing grows without bound."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402.hub.frames import LARGEST_BODY_BYTES, Damaged, Event, Frame, FrameReader, Outside

NONCE = "0123456789ab"
START = b"\x1b_0123456789ab "

_words = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20)
_frames = st.builds(lambda kind, fields: (kind, *fields), _words, st.lists(_words, max_size=4))
_outside = st.binary(max_size=60).filter(lambda data: b"\x1b" not in data and b"\r" not in data)


def wire(frame: tuple[str, ...]) -> bytes:
    return START + " ".join(frame).encode() + b"\x1b\\"


def read(chunks: list[bytes]) -> list[Event]:
    reader = FrameReader(NONCE)
    return [event for chunk in chunks for event in reader.feed(chunk)]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(st.one_of(_frames, _outside), max_size=8), st.lists(st.integers(0, 10_000)))
def test_any_cut_gives_the_same_events(parts: list[tuple[str, ...] | bytes], at: list[int]) -> None:
    data = b"".join(part if isinstance(part, bytes) else wire(part) for part in parts)
    events = read(cut(data.replace(b"\n", b"\r\n"), at))
    frames = [(e.kind, *e.fields) for e in events if isinstance(e, Frame)]
    outside = b"".join(e.data for e in events if isinstance(e, Outside))
    assert frames == [part for part in parts if not isinstance(part, bytes)]
    assert outside == b"".join(part for part in parts if isinstance(part, bytes))


@given(st.lists(st.sampled_from([START, b"\x1b", b"\\", b"_", b"\r", b"\n", b"x", b"A 1"])))
def test_pieces_of_frames_never_break_the_reader(parts: list[bytes]) -> None:
    read(parts)
    assert isinstance(read([*parts, b"\x1b\\\x1b\\", wire(("A", "7"))])[-1], Frame)


@pytest.mark.parametrize(
    ("received", "outside"),
    [
        (b"a\r\r\nb\r\n", b"a\r\nb\n"),
        (b"a\rb", b"a\rb"),
        (b"\r\r\r\n.", b"\r\r\n."),
    ],
)
def test_one_return_before_each_newline_is_taken_out(received: bytes, outside: bytes) -> None:
    for size in range(1, len(received) + 1):
        chunks = [received[i : i + size] for i in range(0, len(received), size)]
        events = read(chunks)
        assert b"".join(e.data for e in events if isinstance(e, Outside)) == outside


def test_frame_without_an_end_is_given_up() -> None:
    reader = FrameReader(NONCE)
    events = list(reader.feed(START))
    for _ in range(30):
        events += reader.feed(b"x" * 10_000)
    assert Damaged() in events
    assert len(reader._buffer) <= LARGEST_BODY_BYTES + 10_000


def test_frame_inside_a_broken_frame_is_found() -> None:
    events = read([START + b"o 1.1 0 4 QU" + wire(("A", "3"))])
    assert events == [Damaged(), Frame(kind="A", fields=("3",))]


def test_control_characters_inside_are_damage() -> None:
    assert read([START + b"X 1.1 \x07\n0\x1b\\"]) == [Damaged()]


def test_another_nonce_is_not_a_frame() -> None:
    data = b"\x1b_ffffffffffff A 3\x1b\\"
    assert read([data]) == [Outside(data=data)]
