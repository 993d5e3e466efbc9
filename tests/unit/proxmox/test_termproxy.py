"""The packets of termproxy, against what was recorded and against any cut."""

import itertools

import pytest
from tests.support import transcripts

from pve402.proxmox import termproxy
from pve402_devnet.terminal.packets import Event, Input, PacketReader


def write(event: Event) -> bytes:
    if isinstance(event, Input):
        return termproxy.input_packet(event.data)
    return termproxy.resize_packet(event.columns, event.rows)


@pytest.mark.parametrize(
    "name", ["terminal-1-echo", "terminal-6-utf8-large", "terminal-8-reattach"]
)
def test_we_write_packets_as_recorded_clients_do(name: str) -> None:
    greeting, *frames = transcripts.terminal_input(name)
    assert greeting.startswith(b"svc@pve!test:")
    typed = b"".join(frame for frame in frames if frame != termproxy.NO_OPERATION)
    events = list(PacketReader(strict=False).feed(typed))
    assert events
    assert b"".join(map(write, events)) == typed


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
    finder = termproxy.TrailerFinder()
    output = b"".join(transcripts.terminal_output(name))
    found = [finder.feed(output[i : i + size]) for i in range(0, len(output), size)]
    assert next(filter(None, found), None) == words


@pytest.mark.parametrize("at", range(0, 200, 9))
def test_an_end_across_two_large_pieces_is_recognised(at: int) -> None:
    output = b"." * 80 + b"\x1b[999H\r\n[EOF - dtach terminating]" + b"." * 80
    finder = termproxy.TrailerFinder()
    found = [finder.feed(output[:at]), finder.feed(output[at:])]
    assert "EOF - dtach terminating" in found


def test_plain_text_about_the_end_is_not_the_end() -> None:
    assert termproxy.find_trailer(b"it prints `[EOF - dtach terminating]` and stays") is None


@pytest.mark.parametrize("length", range(1, 7))
def test_the_chains_returns_are_taken_out_however_output_is_cut(length: int) -> None:
    for letters in itertools.product(b"a\r\n", repeat=length):
        whole = bytes(letters)
        for first, second in itertools.combinations_with_replacement(range(length + 1), 2):
            returns = termproxy.SingleReturns()
            pieces = (whole[:first], whole[first:second], whole[second:])
            seen = b"".join(map(returns.feed, pieces)) + returns.rest()
            assert seen == whole.replace(b"\r\r\n", b"\r\n")


@pytest.mark.parametrize("cuts", [[b"OK"], [b"O", b"K"], [b"", b"OK"]])
def test_greeting_is_read_however_it_is_cut(cuts: list[bytes]) -> None:
    reader = termproxy.GreetingReader()
    assert [reader.feed(cut) for cut in cuts] == [b""] * len(cuts)
    assert reader.accepted
    assert reader.feed(b"# ") == b"# "


def test_output_right_behind_the_greeting_is_kept() -> None:
    assert termproxy.GreetingReader().feed(b"OK\x1b[H") == b"\x1b[H"


def test_another_greeting_is_refused() -> None:
    with pytest.raises(termproxy.ProtocolViolation):
        termproxy.GreetingReader().feed(b"ERR")


@pytest.mark.parametrize(
    ("size", "clamped"),
    [((80, 24), (80, 24)), ((0, 0), (2, 2)), ((65616, 99999), (500, 500)), ((-5, 24), (2, 24))],
)
def test_sizes_are_clamped(size: tuple[int, int], clamped: tuple[int, int]) -> None:
    assert termproxy.clamp_size(*size) == clamped


def test_authentication_line_holds_one_newline() -> None:
    assert termproxy.auth_line("svc@pve!t", "PVEVNC:x") == b"svc@pve!t:PVEVNC:x\n"
    with pytest.raises(ValueError, match="newline"):
        termproxy.auth_line("svc@pve", "a\nb")
