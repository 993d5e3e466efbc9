"""What the jump host tells: the way to it, and goodbye."""

import socket
import struct

import pytest

from pve402.jump import goodbye, way

LEASE = "l" + "0" * 25
KEY = "ssh-ed25519 AAAA"


@pytest.mark.parametrize(
    ("host", "port", "command", "line"),
    [
        ("h.example", 22, f"ssh -J {LEASE}@h.example root@{LEASE}", f"h.example {KEY}"),
        (
            *("h.example", 2222),
            *(f"ssh -J {LEASE}@h.example:2222 root@{LEASE}", f"[h.example]:2222 {KEY}"),
        ),
        ("[2001:db8::1]", 22, f"ssh -J {LEASE}@[2001:db8::1] root@{LEASE}", f"2001:db8::1 {KEY}"),
        (
            *("[2001:db8::1]", 2222),
            *(f"ssh -J {LEASE}@[2001:db8::1]:2222 root@{LEASE}", f"[2001:db8::1]:2222 {KEY}"),
        ),
    ],
)
def test_the_way_is_what_ssh_takes(host: str, port: int, command: str, line: str) -> None:
    access = way.Way(host=host, port=port, public_key=KEY)

    assert access.command(LEASE) == command
    assert access.known_hosts_line == line


@pytest.mark.parametrize("length", range(12))
def test_a_goodbye_is_a_packet(length: int) -> None:
    reason = "x" * length

    packet = goodbye.packet(reason)

    size, padding = struct.unpack("!IB", packet[:5])
    body = packet[5 : -padding or None]
    assert len(packet) == 4 + size
    assert len(packet) % 8 == 0
    assert padding >= 4
    assert body[:9] == struct.pack("!BII", 1, goodbye.TOO_MANY_CONNECTIONS, length)
    assert body[9:] == reason.encode() + bytes(4)


def test_a_goodbye_waits_for_nobody() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        goodbye.say(ours, "full")
        said = theirs.recv(1000)
        assert theirs.recv(1000) == b""

    assert said.startswith(b"SSH-2.0-pve402\r\n")
    assert ours.fileno() == -1
