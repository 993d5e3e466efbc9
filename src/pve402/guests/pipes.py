"""A program's stdin and output as bytes to read and write, for carriers inside this service.

A tenant's websocket speaks of positions, because it may break and come back. A carrier in this
process is as close to the stream as can be, so it just reads and writes.
"""

from typing import Final, Protocol

from typing_extensions import override

from pve402.hub import errors as hub_errors
from pve402.hub import stream as streams
from pve402.hub.request import EventKind

_MOST_COMPLAINT_BYTES: Final = 2000


class Pipe(Protocol):
    """What a carrier needs of a program."""

    #: The end of what the program wrote to stderr.
    complaint: bytes
    #: How the program ended; None while it runs, and if we lost it.
    exit_code: int | None

    async def read(self) -> bytes:
        """Return the next bytes of its stdout; empty once it has ended. Raises HubError."""

    async def write(self, data: bytes) -> None:
        """Write to its stdin; waits while it takes none. Does nothing once it has ended."""

    async def end_input(self) -> None:
        """End its stdin."""

    async def close(self) -> None:
        """Let go of it."""


class HerePipe(Pipe):
    """A program whose stream this process holds."""

    def __init__(self, stream: streams.Stream) -> None:
        self.complaint = b""
        self.exit_code: int | None = None
        self._stream = stream
        self._client = stream.attach(0)
        self._position = 0

    @override
    async def read(self) -> bytes:
        stream = self._stream
        while True:
            changed = stream.changed
            piece = stream.read(self._position)
            if piece is not None:
                kind, data = piece
                await stream.pace(len(data))
                self._position += len(data)
                stream.confirm(self._position)
                if kind is EventKind.STDOUT:
                    return data
                self.complaint = longer(self.complaint, data)
            elif stream.is_over:
                self.exit_code = stream.exit_code
                if stream.error is not None:
                    raise stream.error
                return b""
            else:
                await changed.wait()

    @override
    async def write(self, data: bytes) -> None:
        for start in range(0, len(data), streams.PIECE_BYTES):
            piece = data[start : start + streams.PIECE_BYTES]
            while not (self._stream.is_over or self._has_room(len(piece))):
                await self._stream.changed.wait()
            if self._stream.is_over:
                return
            self._stream.write(piece)

    @override
    async def end_input(self) -> None:
        self._stream.end_input()

    @override
    async def close(self) -> None:
        self._stream.leave()
        self._stream.detach(self._client)

    def _has_room(self, size: int) -> bool:
        under_way = self._stream.received - self._stream.taken
        return under_way + size <= streams.INPUT_WINDOW


def longer(complaint: bytes, data: bytes) -> bytes:
    """Append to a complaint, of which the end is kept."""
    return (complaint + data)[-_MOST_COMPLAINT_BYTES:]


def refusal_of(code: str) -> hub_errors.HubError:
    """Return the error with a code that a peer closed a stream with."""
    kinds = [hub_errors.HubError]
    while kinds:
        kind = kinds.pop()
        if kind.code == code:
            return kind()
        kinds += kind.__subclasses__()
    return hub_errors.SessionLost()
