"""The server's side of RFB 3.8 with VNC authentication (sans-I/O), as in RFC 6143."""

import hmac
import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

VERSION = b"RFB 003.008\n"
_VNC_AUTHENTICATION = b"\x01\x02"  # one security type: 2
_CUT_TEXT_LIMIT = 64 * 1024
_RAW = 0


class ProtocolError(Exception):
    """The client broke the protocol, or its password is wrong; the connection ends."""


@dataclass(frozen=True, kw_only=True)
class PixelFormat:
    """How the client wants a pixel (RFC 6143, 7.4)."""

    bits: int = 32
    big_endian: bool = False
    maxima: tuple[int, int, int] = (255, 255, 255)
    shifts: tuple[int, int, int] = (16, 8, 0)

    def pack(self, colour: tuple[int, int, int]) -> bytes:
        """Encode a colour of 8 bits a channel."""
        value = 0
        for level, maximum, shift in zip(colour, self.maxima, self.shifts, strict=True):
            value |= (level * maximum // 255) << shift
        value &= (1 << self.bits) - 1
        return value.to_bytes(self.bits // 8, "big" if self.big_endian else "little")


@dataclass(frozen=True, kw_only=True)
class UpdateRequested:
    """The client waits for the screen; an incremental request only for what changed."""

    incremental: bool


@dataclass(frozen=True, kw_only=True)
class KeyPressed:
    """A key went down or up; `keysym` is that of X11."""

    keysym: int
    down: bool


@dataclass(frozen=True, kw_only=True)
class FormatChosen:
    """The client wants its pixels in this form from now on."""

    pixels: PixelFormat


Event = UpdateRequested | KeyPressed | FormatChosen


class Server:
    """One connection. Feed it what the client sends; `outgoing` holds what is to be sent."""

    def __init__(self, *, password: str, width: int, height: int, name: str) -> None:
        self._password = password
        self._size = (width, height)
        self._name = name.encode()
        self._buffer = bytearray()
        self._challenge = secrets.token_bytes(16)
        self._steps = iter((self._version, self._security, self._response, self._client_init))
        self._step = next(self._steps)
        self._ready = False
        self.outgoing = bytearray(VERSION)

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take bytes of the client; raises ProtocolError after the last answer is in `outgoing`."""
        self._buffer += data
        while not self._ready and self._step():
            following = next(self._steps, None)
            self._ready = following is None
            self._step = following or self._step
        while self._ready and (event := self._take_message()) is not None:
            if event is not True:
                yield event

    def update(self, rectangles: list[tuple[int, int, int, int, bytes]]) -> bytes:
        """Encode one FramebufferUpdate of raw rectangles (x, y, width, height, pixels)."""
        parts = [struct.pack(">BxH", 0, len(rectangles))]
        for x, y, width, height, pixels in rectangles:
            parts += (struct.pack(">HHHHi", x, y, width, height, _RAW), pixels)
        return b"".join(parts)

    def _version(self) -> bool:
        taken = self._take(len(VERSION))
        if taken is None:
            return False
        if taken != VERSION:
            raise ProtocolError("only RFB 3.8 is spoken")
        self.outgoing += _VNC_AUTHENTICATION
        return True

    def _security(self) -> bool:
        taken = self._take(1)
        if taken is None:
            return False
        if taken != b"\x02":
            raise ProtocolError("unknown security type")
        self.outgoing += self._challenge
        return True

    def _response(self) -> bool:
        taken = self._take(16)
        if taken is None:
            return False
        if not hmac.compare_digest(taken, answer_challenge(self._password, self._challenge)):
            reason = b"Authentication failed"
            self.outgoing += struct.pack(">II", 1, len(reason)) + reason
            raise ProtocolError("wrong password")
        self.outgoing += struct.pack(">I", 0)
        return True

    def _client_init(self) -> bool:
        if self._take(1) is None:
            return False
        native = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
        self.outgoing += struct.pack(">HH", *self._size) + native
        self.outgoing += struct.pack(">I", len(self._name)) + self._name
        return True

    def _take(self, size: int) -> bytes | None:
        if len(self._buffer) < size:
            return None
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _take_message(self) -> Event | Literal[True] | None:
        """Take one client message; True if it requests nothing, None if it is incomplete."""
        if not self._buffer:
            return None
        taken = self._take(self._message_size())
        if taken is None:
            return None
        if taken[0] == 0:
            return FormatChosen(pixels=_parse_format(taken[4:20]))
        if taken[0] == 3:
            return UpdateRequested(incremental=bool(taken[1]))
        if taken[0] == 4:
            down, keysym = struct.unpack(">xB2xI", taken)
            return KeyPressed(keysym=keysym, down=bool(down))
        return True

    def _message_size(self) -> int:
        kind = self._buffer[0]
        fixed = {0: 20, 2: 4, 3: 10, 4: 8, 5: 6, 6: 8}.get(kind)
        if fixed is None:
            raise ProtocolError("unknown message")
        if kind == 2 and len(self._buffer) >= 4:
            count: int = struct.unpack_from(">H", self._buffer, 2)[0]
            return fixed + 4 * count
        if kind == 6 and len(self._buffer) >= 8:
            length: int = struct.unpack_from(">I", self._buffer, 4)[0]
            if length > _CUT_TEXT_LIMIT:
                raise ProtocolError("cut text too long")
            return fixed + length
        return fixed


def answer_challenge(password: str, challenge: bytes) -> bytes:
    """Encrypt the challenge with DES; VNC takes the bits of each key byte in reverse order."""
    padded = password.encode("latin-1", "replace")[:8].ljust(8, b"\0")
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in padded)
    # Triple DES with one key three times is DES.
    encryptor = Cipher(TripleDES(key * 3), modes.ECB()).encryptor()  # noqa: S305
    return encryptor.update(challenge) + encryptor.finalize()


def _parse_format(data: bytes) -> PixelFormat:
    fields = struct.unpack(">BBBBHHHBBB3x", data)
    bits, _depth, big_endian, true_colour = fields[:4]
    if bits not in (8, 16, 32) or not true_colour:
        raise ProtocolError("only true colour of 8, 16 or 32 bits")
    if max(fields[7:10]) >= bits:
        raise ProtocolError("colour outside the pixel")
    return PixelFormat(
        bits=bits, big_endian=bool(big_endian), maxima=fields[4:7], shifts=fields[7:10]
    )
