"""What termproxy makes of bytes, and what it loses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402_devnet.terminal.packets import BUFFER_BYTES, Event, Input, PacketReader, Resize


def packet(data: bytes) -> bytes:
    return b"0:%d:%b" % (len(data), data)


def typed(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Input))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"0:2:ls", [Input(data=b"ls")]),
        (b"0:0:0:1:a", [Input(data=b"a")]),
        (b"1:100:30:", [Resize(columns=100, rows=30)]),
        (b"1:65626:24:", [Resize(columns=90, rows=24)]),
        (b"2", []),
        (b"2220:1:a", [Input(data=b"a")]),
        (b"0:2:\n:1:80:24:", [Input(data=b"\n:"), Resize(columns=80, rows=24)]),
        (b"0:x:0:1:a", [Input(data=b"a")]),
        (b"\xff0:1:a", [Input(data=b"a")]),
    ],
)
def test_whole_packets_are_understood(strict: bool, stream: bytes, events: list[Event]) -> None:
    assert list(PacketReader(strict=strict).feed(stream)) == events


def test_data_may_arrive_in_pieces() -> None:
    reader = PacketReader(strict=True)
    events = [event for part in (b"0:5:ab", b"c", b"de2") for event in reader.feed(part)]
    assert typed(events) == b"abcde"


@pytest.mark.parametrize("cut", range(1, 4))
def test_a_header_in_two_reads_is_lost(cut: int) -> None:
    reader = PacketReader(strict=True)
    whole = packet(b"x" * 10)
    events = [*reader.feed(whole[:cut]), *reader.feed(whole[cut:])]
    assert typed(events) != b"x" * 10 or cut == 1


@pytest.mark.parametrize("size", range(BUFFER_BYTES - 12, BUFFER_BYTES - 5))
def test_a_header_across_the_end_of_the_buffer(size: int) -> None:
    stream = packet(b"a" * (size - len(packet(b"")) - 3)) + packet(b"b" * 10) + packet(b"c")
    kept = typed(list(PacketReader(strict=False).feed(stream)))
    strict = typed(list(PacketReader(strict=True).feed(stream)))
    left = BUFFER_BYTES - stream.index(b"0:10:")
    assert kept.endswith(b"b" * 10 + b"c")
    assert (b"b" * 10 in strict) == (left >= 5 or left < 2)


@given(st.lists(st.binary(min_size=1, max_size=6000), max_size=8), st.integers(1, 5000))
def test_a_forgiving_reader_gets_everything_however_it_is_cut(
    parts: list[bytes], step: int
) -> None:
    stream = b"".join(map(packet, parts))
    reader = PacketReader(strict=False)
    cuts = range(0, len(stream), step)
    events = [event for start in cuts for event in reader.feed(stream[start : start + step])]
    assert typed(events) == b"".join(parts)


@given(st.lists(st.binary(max_size=300)), st.booleans())
def test_any_bytes_are_survived(parts: list[bytes], strict: bool) -> None:
    reader = PacketReader(strict=strict)
    events = [event for part in parts for event in reader.feed(part)]
    assert len(typed(events)) <= sum(map(len, parts))
