"""RFB 3.8 with VNC authentication, as RFC 6143 has it."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pve402_devnet.terminal import rfb
from pve402_devnet.terminal.keys import Keyboard


def server() -> rfb.Server:
    return rfb.Server(password="Secret12", width=480, height=240, name="CT 101")


def sent(made: rfb.Server) -> bytes:
    data = bytes(made.outgoing)
    made.outgoing.clear()
    return data


def connected(password: str = "Secret12") -> rfb.Server:
    made = server()
    list(made.feed(rfb.VERSION + b"\x02"))
    challenge = sent(made)[-16:]
    list(made.feed(rfb.answer_challenge(password, challenge) + b"\x01"))
    return made


def test_the_handshake_runs_to_the_size_of_the_screen() -> None:
    made = server()
    assert sent(made) == b"RFB 003.008\n"
    list(made.feed(b"RFB 003.008\n"))
    assert sent(made) == b"\x01\x02"
    list(made.feed(b"\x02"))
    challenge = sent(made)
    assert len(challenge) == 16
    list(made.feed(rfb.answer_challenge("Secret12", challenge)))
    assert sent(made) == b"\0\0\0\0"
    list(made.feed(b"\x01"))
    size, name = sent(made)[:4], b"CT 101"
    assert struct.unpack(">HH", size) == (480, 240)
    assert name


def test_a_handshake_byte_by_byte_is_the_same() -> None:
    made = server()
    for byte in rfb.VERSION + b"\x02":
        assert list(made.feed(bytes([byte]))) == []
    assert len(sent(made)) == 12 + 2 + 16


def test_des_takes_the_bits_of_the_password_in_reverse_order() -> None:
    # With a password of NUL bytes reversal is nothing: DES of zeros under a zero key is known.
    assert rfb.answer_challenge("", bytes(16)).hex() == "8ca64de9c1b123a7" * 2
    assert rfb.answer_challenge("abcdefgh9", bytes(16)) == rfb.answer_challenge(
        "abcdefgh", bytes(16)
    )
    assert rfb.answer_challenge("\x01", bytes(16)) != rfb.answer_challenge("\x80", bytes(16))


def test_a_wrong_password_is_refused_with_a_reason() -> None:
    made = server()
    list(made.feed(rfb.VERSION + b"\x02"))
    sent(made)
    with pytest.raises(rfb.ProtocolError, match="wrong password"):
        list(made.feed(bytes(16)))
    assert sent(made) == b"\0\0\0\x01\0\0\0\x15Authentication failed"


@pytest.mark.parametrize("data", [b"RFB 003.003\n", b"RFB 003.008\n\x01", b"GET / HTTP/1.1\r\n"])
def test_other_handshakes_are_refused(data: bytes) -> None:
    with pytest.raises(rfb.ProtocolError):
        list(server().feed(data))


@pytest.mark.parametrize(
    ("message", "event"),
    [
        (bytes([3, 0, *[0] * 8]), rfb.UpdateRequested(incremental=False)),
        (bytes([3, 1, *[0] * 8]), rfb.UpdateRequested(incremental=True)),
        (struct.pack(">BBxxI", 4, 1, 0xFF0D), rfb.KeyPressed(keysym=0xFF0D, down=True)),
        (
            struct.pack(">B3xBBBBHHHBBB3x", 0, 16, 16, 1, 1, 31, 63, 31, 11, 5, 0),
            rfb.FormatChosen(
                pixels=rfb.PixelFormat(
                    bits=16, big_endian=True, maxima=(31, 63, 31), shifts=(11, 5, 0)
                )
            ),
        ),
    ],
)
def test_messages_become_events_and_others_are_skipped(message: bytes, event: rfb.Event) -> None:
    encodings = struct.pack(">BxHii", 2, 2, 0, 7)
    pointer = bytes([5, 0, 0, 0, 0, 0])
    cut = struct.pack(">B3xI", 6, 3) + b"abc"
    assert list(connected().feed(encodings + pointer + cut + message)) == [event]


@pytest.mark.parametrize(
    "message",
    [
        b"\xff",
        struct.pack(">B3xI", 6, 1 << 20),
        struct.pack(">B3xBBBBHHHBBB3x", 0, 24, 24, 0, 1, 255, 255, 255, 16, 8, 0),
        struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 0, 1, 255, 255, 255, 99, 8, 0),
    ],
)
def test_hostile_messages_end_the_connection(message: bytes) -> None:
    with pytest.raises(rfb.ProtocolError):
        list(connected().feed(message))


@given(st.lists(st.binary(max_size=100)))
def test_any_bytes_are_survived(parts: list[bytes]) -> None:
    made = connected()
    try:
        events = [event for part in parts for event in made.feed(part)]
    except rfb.ProtocolError:
        return
    assert len(events) <= sum(map(len, parts))


@pytest.mark.parametrize(
    ("pixels", "packed"),
    [
        (rfb.PixelFormat(), b"\x03\x02\x01\x00"),
        (rfb.PixelFormat(shifts=(0, 8, 16)), b"\x01\x02\x03\x00"),
        (rfb.PixelFormat(bits=8, maxima=(7, 7, 3), shifts=(0, 3, 6)), b"\x00"),
        (rfb.PixelFormat(big_endian=True), b"\x00\x01\x02\x03"),
    ],
)
def test_a_colour_in_the_format_of_the_client(pixels: rfb.PixelFormat, packed: bytes) -> None:
    assert pixels.pack((1, 2, 3)) == packed


@pytest.mark.parametrize(
    ("keysyms", "typed"),
    [
        ([ord("a")], b"a"),
        ([0xE9], "\u00e9".encode()),
        ([0x0100_20AC], "\u20ac".encode()),
        ([0x0100_D800], b""),
        ([0x7FFF_FFFF], b""),
        ([0xFF0D], b"\r"),
        ([0xFF08], b"\x7f"),
        ([0xFF52], b"\x1b[A"),
        ([0xFFE3, ord("c")], b"\x03"),
        ([0xFFE9, ord("x")], b"\x1bx"),
        ([0xFFE1, ord("A")], b"A"),
        ([0xFFBE], b""),
    ],
)
def test_keys_become_bytes(keysyms: list[int], typed: bytes) -> None:
    keyboard = Keyboard()
    assert b"".join(keyboard.press(keysym, down=True) for keysym in keysyms) == typed


def test_a_released_control_key_is_forgotten() -> None:
    keyboard = Keyboard()
    keyboard.press(0xFFE3, down=True)
    keyboard.press(0xFFE3, down=False)
    assert keyboard.press(ord("c"), down=True) == b"c"
    assert keyboard.press(ord("c"), down=False) == b""
