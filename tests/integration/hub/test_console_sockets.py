"""Consoles over real websockets: a browser that reads slowly, and pictures of a real VNC server."""

import json
import struct
import time
from collections.abc import Iterator

import pytest
from tests.support import console_rig
from tests.support.console_links import (
    LIMIT_SECONDS,
    closing,
    opened,
    read_until,
    ready,
)
from tests.support.console_rig import ASH, BASH, Rig
from websockets.sync.client import ClientConnection

pytestmark = pytest.mark.namespaces

FLOOD_SECONDS = 3.0
GROWTH_MB = 24.0


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with console_rig.running(tmp_path_factory.mktemp("rig"), "--polite") as made:
        yield made


@pytest.mark.parametrize("window", [None, 256 * 1024], ids=["by-tcp", "by-window"])
def test_a_slow_reader_does_not_grow_our_memory(rig: Rig, window: int | None) -> None:
    with opened(rig.link(), **({"window": window} if window else {})) as socket:
        ready(socket)
        before = rig.resident_mb()
        socket.send(b"yes 0123456789012345678901234567890123456789\r")
        time.sleep(FLOOD_SECONDS)
        grown = rig.resident_mb() - before

    assert grown < GROWTH_MB


def test_what_a_slow_reader_missed_is_said(rig: Rig) -> None:
    with opened(rig.link(), window=64 * 1024) as socket:
        ready(socket)
        socket.send(b"\x03")  # the flood of the test before may still run
        time.sleep(0.5)
        socket.send(b"seq 1 400000; echo do''ne\r")
        time.sleep(FLOOD_SECONDS)
        seen = b""
        while b"done" not in seen[-200:]:
            message = socket.recv(timeout=20)
            if isinstance(message, bytes):
                seen += message
                socket.send(json.dumps({"ack": len(message)}))

    assert b"[output skipped]" in seen


def test_a_picture_is_drawn_and_keys_reach_the_shell(rig: Rig) -> None:
    with opened(rig.link(ASH, "vnc")) as socket:
        ready(socket)
        picture = Viewer(socket)
        blank = picture.lit_pixels()
        for character in "echo hello; ls /":
            picture.press(ord(character))
        picture.press(0xFF0D)

        give_up_at = time.monotonic() + LIMIT_SECONDS
        while picture.lit_pixels() <= blank + 300:
            assert time.monotonic() < give_up_at
            time.sleep(0.1)


def test_a_viewer_that_speaks_no_rfb_is_turned_away(rig: Rig) -> None:
    with opened(rig.link(ASH, "vnc")) as socket:
        ready(socket)
        socket.send(b"GET / HTTP/1.1\r\n\r\n")

        assert closing(socket)[0] == 1002


def test_a_closed_picture_leaves_the_terminal_to_others(rig: Rig) -> None:
    with opened(rig.link(BASH, "vnc")) as socket:
        Viewer(socket, hello=ready(socket))

    with opened(rig.link(BASH, "terminal")) as socket:
        ready(socket)
        socket.send(b"echo fr''ee\r")
        read_until(socket, b"free")


class Viewer:
    """A small VNC client, after RFC 6143, that counts bright pixels."""

    def __init__(self, socket: ClientConnection, hello: object = None) -> None:
        del hello
        self._socket = socket
        self._buffer = b""
        assert self._take(12) == b"RFB 003.008\n"
        socket.send(b"RFB 003.008\n")
        assert self._take(2) == b"\x01\x01"
        socket.send(b"\x01")
        assert self._take(4) == bytes(4)
        socket.send(b"\x01")
        self.width, self.height = struct.unpack(">HH16x", self._take(20))
        self._take(struct.unpack(">I", self._take(4))[0])

    def lit_pixels(self) -> int:
        """Ask for the whole picture and count its bright pixels."""
        self._socket.send(struct.pack(">BBHHHH", 3, 0, 0, 0, self.width, self.height))
        lit = rows = 0
        while rows < self.height:
            kind, count = struct.unpack(">BxH", self._take(4))
            assert kind == 0
            for _ in range(count):
                _x, _y, width, height, encoding = struct.unpack(">HHHHi", self._take(12))
                assert encoding == 0
                lit += sum(byte > 128 for byte in self._take(width * height * 4)[::4])
                rows += height
        return lit

    def press(self, keysym: int) -> None:
        """Press a key and let it go."""
        for down in (1, 0):
            self._socket.send(struct.pack(">BB2xI", 4, down, keysym))

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            message = self._socket.recv(timeout=20)
            if isinstance(message, bytes):
                self._buffer += message
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        return taken
