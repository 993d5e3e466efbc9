"""The answer that holds a command's output, written piece by piece: it may be large.

Output of 16 MiB is 96 MiB of JSON where it is all NULs, and it stands there twice. So it is never
all in memory, but for what the execution itself keeps.
"""

import base64
import codecs
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from starlette.responses import Response, StreamingResponse

from pve402 import schemas
from pve402.hub.request import EventKind, ExecEvent

_STREAMS: Final = {
    "output": frozenset({EventKind.STDOUT, EventKind.STDERR}),
    "stdout": frozenset({EventKind.STDOUT}),
    "stderr": frozenset({EventKind.STDERR}),
}
#: An answer of less output goes out in one piece, with its length.
_SMALL_BYTES: Final = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class CommandAnswer:
    """A command's answer: `facts` without output, and the pieces of its output.

    `held` is whatever keeps the room for these pieces accounted.
    """

    facts: schemas.ExecAnswer
    pieces: tuple[ExecEvent, ...] = field(repr=False)
    held: object = field(default=None, repr=False)

    def respond(self, status: int = 200) -> Response:
        """The response that carries it."""
        if sum(len(piece.data) for piece in self.pieces) <= _SMALL_BYTES:
            return Response(b"".join(self.write()), status, media_type="application/json")
        return StreamingResponse(_in_turns(self), status, media_type="application/json")

    def write(self) -> Iterator[bytes]:
        """The JSON text, in pieces."""
        start = b"{"
        for name, value in self.facts.model_dump(mode="json", by_alias=True).items():
            yield start + json.dumps(name).encode() + b":"
            kinds = _STREAMS.get(name)
            if kinds is None:
                yield json.dumps(value, ensure_ascii=False).encode()
            else:
                data = (piece.data for piece in self.pieces if piece.kind in kinds)
                yield b'"'
                yield from _text(data, self.facts.encoding)
                yield b'"'
            start = b","
        yield b"}"


async def _in_turns(answer: CommandAnswer) -> AsyncIterator[bytes]:
    for piece in answer.write():
        yield piece


def _text(pieces: Iterable[bytes], encoding: schemas.ExecEncoding) -> Iterator[bytes]:
    return _base64(pieces) if encoding == "base64" else _utf8(pieces)


def _utf8(pieces: Iterable[bytes]) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for piece in pieces:
        yield _escaped(decoder.decode(piece))
    yield _escaped(decoder.decode(b"", final=True))


def _escaped(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


def _base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    left = b""
    for piece in pieces:
        data = left + piece
        whole = len(data) // 3 * 3
        left = data[whole:]
        yield base64.b64encode(data[:whole])
    yield base64.b64encode(left)
