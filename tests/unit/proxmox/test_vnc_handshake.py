"""The opening of a VNC connection, on both sides, however the bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support import transcripts

from pve402.proxmox import vnc

CHALLENGE = bytes(range(16))


def talk(handshake: vnc.Handshake, messages: bytes, size: int) -> bytes:
    sent = handshake.bytes_to_send()
    for start in range(0, len(messages), size):
        handshake.receive(messages[start : start + size])
        sent += handshake.bytes_to_send()
    return sent


@given(st.integers(1, 40))
def test_client_authenticates(size: int) -> None:
    server = vnc.VERSION + b"\x02\x10\x02" + CHALLENGE + bytes(4) + b"rest"
    client = vnc.client_handshake("secret12")
    sent = talk(client, server, size)
    assert sent == vnc.VERSION + b"\x02" + vnc.answer_challenge("secret12", CHALLENGE)
    assert client.is_done
    assert client.rest() == b"rest"


@given(st.integers(1, 40))
def test_server_asks_for_nothing(size: int) -> None:
    server = vnc.server_handshake()
    sent = talk(server, vnc.VERSION + b"\x01" + b"\x01rest", size)
    assert sent == vnc.VERSION + b"\x01\x01" + bytes(4)
    assert server.rest() == b"\x01rest"


def test_recorded_server_is_answered() -> None:
    output = transcripts.terminal_output("terminal-5-vncproxy-rfb")
    client = vnc.client_handshake("12345678")
    sent = talk(client, b"".join(output), 1)
    assert sent[:13] == vnc.VERSION + b"\x02"
    assert len(sent) == 29
    assert not client.is_done


@pytest.mark.parametrize(
    "server",
    [
        b"RFB 003.003\n",
        b"HTTP/1.1 400",
        vnc.VERSION + b"\x00",
        vnc.VERSION + b"\x01\x01",
        vnc.VERSION + b"\x01\x02" + CHALLENGE + b"\x00\x00\x00\x01",
    ],
)
def test_server_that_does_not_fit_is_refused(server: bytes) -> None:
    with pytest.raises(vnc.VncFailed):
        vnc.client_handshake("x").receive(server)


@pytest.mark.parametrize("client", [b"RFB 003.007\n", vnc.VERSION + b"\x02"])
def test_client_that_does_not_fit_is_refused(client: bytes) -> None:
    with pytest.raises(vnc.VncFailed):
        vnc.server_handshake().receive(client)


def test_key_is_the_password_with_mirrored_bytes() -> None:
    """The published example of DES: key 133457799BBCDFF1 makes 85E813540F0AB405 of 0123...EF."""
    mirrored = bytes(int(f"{b:08b}"[::-1], 2) for b in bytes.fromhex("133457799BBCDFF1"))
    answer = vnc.answer_challenge(mirrored.decode("latin-1"), bytes.fromhex("0123456789ABCDEF"))
    assert answer.hex() == "85e813540f0ab405"


def test_password_counts_with_eight_characters() -> None:
    assert vnc.answer_challenge("12345678", CHALLENGE) == vnc.answer_challenge(
        "123456789", CHALLENGE
    )
