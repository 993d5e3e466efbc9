"""The packets of termproxy, against what was recorded and against any cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import transcripts

from pve402.proxmox import terminal
from pve402.proxmox.terminal import Input, NoOperation, PacketReader, Resize

_packets = st.lists(
    st.one_of(
        st.builds(lambda data: Input(data=data), st.binary(max_size=50)),
        st.builds(lambda c, r: Resize(columns=c, rows=r), st.integers(2, 500), st.integers(2, 500)),
        st.just(NoOperation()),
    ),
    max_size=6,
)


def write(packet: terminal.Packet) -> bytes:
    if isinstance(packet, Input):
        return terminal.input_packet(packet.data)
    if isinstance(packet, Resize):
        return terminal.resize_packet(packet.columns, packet.rows)
    return terminal.NO_OPERATION


@given(_packets, st.integers(1, 20))
def test_packets_survive_any_cut(packets: list[terminal.Packet], size: int) -> None:
    data = b"".join(map(write, packets))
    reader = PacketReader()
    cuts = [data[start : start + size] for start in range(0, len(data), size)]
    assert [packet for cut in cuts for packet in reader.feed(cut)] == packets


@pytest.mark.parametrize(
    "data",
    [b"3", b"0:x:", b"0:-1:", b"00:1:", b"1:1:x:", b"0:" + b"1" * 50, b"0:9999999:", b"\xff"],
)
def test_what_is_no_packet_is_refused(data: bytes) -> None:
    with pytest.raises(terminal.ProtocolViolation):
        list(PacketReader().feed(data))


@given(st.binary(max_size=300))
def test_any_bytes_are_packets_or_refused(data: bytes) -> None:
    try:
        list(PacketReader(largest_packet_bytes=1000).feed(data))
    except terminal.ProtocolViolation:
        return


@pytest.mark.parametrize(
    "name", ["terminal-1-echo", "terminal-6-utf8-large", "terminal-8-reattach"]
)
def test_recorded_clients_are_understood(name: str) -> None:
    frames = transcripts.terminal_input(name)
    assert frames[0].startswith(b"svc@pve!test:")
    packets = [packet for frame in frames[1:] for packet in PacketReader().feed(frame)]
    assert packets
    assert b"".join(map(write, packets)) == b"".join(frames[1:])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("terminal-1-echo", "EOF - dtach terminating"),
        ("terminal-9-exit-and-wait", "EOF - dtach terminating"),
        ("terminal-3-open-on-stopped", "EOF - dtach terminating"),
        ("terminal-7-client-close", None),
        ("terminal-2-stopped", None),
    ],
)
@pytest.mark.parametrize("size", [7, 63, 64, 90, 100_000])
def test_recorded_ends_are_recognised(name: str, words: str | None, size: int) -> None:
    watch = terminal.TrailerWatch()
    output = b"".join(transcripts.terminal_output(name))
    found = [watch.feed(output[i : i + size]) for i in range(0, len(output), size)]
    assert next(filter(None, found), None) == words


@pytest.mark.parametrize("at", range(0, 200, 9))
def test_an_end_across_two_large_pieces_is_recognised(at: int) -> None:
    output = b"." * 80 + b"\x1b[999H\r\n[EOF - dtach terminating]" + b"." * 80
    watch = terminal.TrailerWatch()
    found = [watch.feed(output[:at]), watch.feed(output[at:])]
    assert "EOF - dtach terminating" in found


def test_plain_text_about_the_end_is_not_the_end() -> None:
    assert terminal.find_trailer(b"it prints `[EOF - dtach terminating]` and stays") is None


@pytest.mark.parametrize("length", range(1, 7))
def test_the_chains_returns_are_taken_out_however_output_is_cut(length: int) -> None:
    for letters in itertools.product(b"a\r\n", repeat=length):
        whole = bytes(letters)
        for first, second in itertools.combinations_with_replacement(range(length + 1), 2):
            returns = terminal.SingleReturns()
            pieces = (whole[:first], whole[first:second], whole[second:])
            seen = b"".join(map(returns.feed, pieces)) + returns.rest()
            assert seen == whole.replace(b"\r\r\n", b"\r\n")


@pytest.mark.parametrize("cuts", [[b"OK"], [b"O", b"K"], [b"", b"OK"]])
def test_greeting_is_read_however_it_is_cut(cuts: list[bytes]) -> None:
    reader = terminal.GreetingReader()
    assert [reader.feed(cut) for cut in cuts] == [b""] * len(cuts)
    assert reader.accepted
    assert reader.feed(b"# ") == b"# "


def test_output_right_behind_the_greeting_is_kept() -> None:
    assert terminal.GreetingReader().feed(b"OK\x1b[H") == b"\x1b[H"


def test_another_greeting_is_refused() -> None:
    with pytest.raises(terminal.ProtocolViolation):
        terminal.GreetingReader().feed(b"ERR")


@pytest.mark.parametrize(
    ("size", "clamped"),
    [((80, 24), (80, 24)), ((0, 0), (2, 2)), ((65616, 99999), (500, 500)), ((-5, 24), (2, 24))],
)
def test_sizes_are_clamped(size: tuple[int, int], clamped: tuple[int, int]) -> None:
    assert terminal.clamp_size(*size) == clamped


def test_authentication_line_holds_one_newline() -> None:
    assert terminal.auth_line("svc@pve!t", "PVEVNC:x") == b"svc@pve!t:PVEVNC:x\n"
    with pytest.raises(ValueError, match="newline"):
        terminal.auth_line("svc@pve", "a\nb")
