"""Reads what the agent writes to the terminal: frames, and everything between them.

A frame is `ESC _ NONCE TYPE FIELDS ESC \\` (an application program command of ECMA-48, which
terminal emulators skip silently, so an administrator watching the terminal sees none of it).
Bytes outside frames come from an open console, or from somebody else.

The guest may be hostile: frames have a maximum size and hold only printable ASCII.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

#: A piece of output is at most 48 KiB, twice that in hexadecimal.
LARGEST_BODY_BYTES = 110_000

_ESCAPE = b"\x1b"
_END = b"\x1b\\"
_PRINTABLE = bytes(range(0x20, 0x7F))


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One message of the agent."""

    kind: str
    fields: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Outside:
    """Bytes between frames, without the `\\r` that the chain puts before each `\\n`."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A frame that lost its end, is too large, or holds bytes that no frame may hold."""


Event = Frame | Outside | Damaged


class FrameReader:
    """Splits a terminal's output into frames and the rest, wherever the input is cut."""

    def __init__(self, nonce: str) -> None:
        self._start = f"\x1b_{nonce} ".encode()
        self._buffer = bytearray()
        self._inside = False
        self._searched = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take received bytes; yields the events that are complete."""
        if not self._buffer and not self._inside and _is_plain(data):
            yield Outside(data=data)  # most of a console flood takes this path, without a copy
            return
        self._buffer += data
        while self._buffer:
            before = len(self._buffer), self._inside
            event = self._read_inside() if self._inside else self._read_outside()
            if event is not None:
                yield event
            if (len(self._buffer), self._inside) == before:
                return

    def _read_outside(self) -> Outside | None:
        # Searching for one byte is much faster than for several, and usually finds none.
        escape = self._buffer.find(_ESCAPE)
        start = self._buffer.find(self._start, escape) if escape >= 0 else -1
        if start < 0:
            return self._take_outside(len(self._buffer) - self._held_back())
        event = self._take_outside(start)
        del self._buffer[: len(self._start)]
        self._inside, self._searched = True, 0
        return event

    def _take_outside(self, size: int) -> Outside | None:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        return Outside(data=data) if data else None

    def _held_back(self) -> int:
        """How many bytes at the end may belong to a frame's start or to a `\\r\\n`."""
        escape = self._buffer.rfind(_ESCAPE, max(0, len(self._buffer) - len(self._start) + 1))
        if escape >= 0 and self._start.startswith(self._buffer[escape:]):
            return len(self._buffer) - escape
        return 1 if self._buffer.endswith(b"\r") else 0

    def _read_inside(self) -> Frame | Damaged | None:
        end = self._buffer.find(_ESCAPE, self._searched)
        if end < 0 or end + 1 == len(self._buffer):
            self._searched = max(0, len(self._buffer) - 1)
            return self._give_up_if_large()
        self._inside = False
        whole = self._buffer.startswith(_END, end)
        body = bytes(self._buffer[:end])
        del self._buffer[: end + len(_END) if whole else end]
        return _parse(body) if whole else Damaged()

    def _give_up_if_large(self) -> Damaged | None:
        if len(self._buffer) <= LARGEST_BODY_BYTES:
            return None
        self._buffer.clear()
        self._inside = False
        return Damaged()


def _is_plain(data: bytes) -> bool:
    return bool(data) and _ESCAPE not in data and b"\r" not in data


def _parse(body: bytes) -> Frame | Damaged:
    if len(body) > LARGEST_BODY_BYTES or body.translate(None, _PRINTABLE):
        return Damaged()
    kind, *fields = body.decode("ascii").split(" ")
    return Frame(kind=kind, fields=tuple(fields))
