"""How termproxy interprets a client's bytes (sans-I/O).

`0:LENGTH:BYTES` is input, `1:COLUMNS:ROWS:` a resize, any other byte is skipped. termproxy 2.1
reads into a buffer of 4,096 bytes and looks for packets whenever it is filled. A header of which
only a part is there is taken out of the buffer and thereby lost; what follows is read as
something else.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

BUFFER_BYTES = 4096
_NUMBER_LIMIT = 20


@dataclass(frozen=True, kw_only=True)
class Input:
    """Bytes for the terminal: the data of a packet, or a part of it."""

    data: bytes


@dataclass(frozen=True, kw_only=True)
class Resize:
    """A new terminal size, 16 bits each as the kernel keeps it."""

    columns: int
    rows: int


Event = Input | Resize


class PacketReader:
    """Turns a byte stream into input and resizes; `strict` loses what termproxy loses."""

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._buffer = bytearray()
        self._remaining = 0

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take received bytes; yields what they request, in order."""
        view = memoryview(data)
        while view:
            room = BUFFER_BYTES - len(self._buffer)
            self._buffer += view[:room]
            view = view[room:]
            yield from self._process()

    def _process(self) -> Iterator[Event]:
        while self._buffer:
            if self._remaining:
                yield self._take_data()
                continue
            if len(self._buffer) < 2:
                return
            event = self._take_header()
            if event is None:
                return
            if isinstance(event, Resize):
                yield event

    def _take_data(self) -> Input:
        data = bytes(self._buffer[: self._remaining])
        del self._buffer[: len(data)]
        self._remaining -= len(data)
        return Input(data=data)

    def _take_header(self) -> Resize | Literal[True] | None:
        """Remove one header from the buffer; None if it is not complete yet."""
        kind = self._buffer[0] - ord("0")
        if kind not in (0, 1):
            del self._buffer[0]
            return True
        wanted = 1 if kind == 0 else 2
        if not self._strict and self._buffer.count(b":", 2) < wanted and len(self._buffer) < 40:
            return None
        del self._buffer[:2]
        return self._take_length() if kind == 0 else self._take_size()

    def _take_length(self) -> Literal[True]:
        self._remaining = self._take_number() or 0
        return True

    def _take_size(self) -> Resize | Literal[True]:
        columns = self._take_number()
        if columns is None:
            return True
        rows = self._take_number()
        if rows is None:
            return True
        return Resize(columns=columns & 0xFFFF, rows=rows & 0xFFFF)

    def _take_number(self) -> int | None:
        while True:
            end = self._buffer.find(b":")
            if end >= 0:
                digits = bytes(self._buffer[:end])
                del self._buffer[: end + 1]
                return int(digits) if digits.isdigit() and end <= _NUMBER_LIMIT else None
            if len(self._buffer) <= _NUMBER_LIMIT:
                return None
            del self._buffer[:_NUMBER_LIMIT]
