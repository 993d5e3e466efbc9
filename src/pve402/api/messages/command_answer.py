"""The answer with a command's output, written in pieces because it may be large.

16 MiB of NULs become 96 MiB of JSON, and the output appears in it twice. So we never hold the
whole answer in memory, only the output that the execution itself keeps.
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
#: An answer with less output is sent in one piece, with its length.
_SMALL_BYTES: Final = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class CommandAnswer:
    """A command's answer: `facts` without output, and the output in pieces.

    `held` keeps the memory of these pieces reserved.
    """

    facts: schemas.ExecAnswer
    pieces: tuple[ExecEvent, ...] = field(repr=False)
    held: object = field(default=None, repr=False)

    def respond(self, status: int = 200) -> Response:
        """Build the response with this answer."""
        if sum(len(piece.data) for piece in self.pieces) <= _SMALL_BYTES:
            return Response(b"".join(self.write()), status, media_type="application/json")
        return StreamingResponse(_in_turns(self), status, media_type="application/json")

    def write(self) -> Iterator[bytes]:
        """Yield the JSON text in pieces."""
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
