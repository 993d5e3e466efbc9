"""Writes any bytes as printable POSIX shell text, in pieces that fit on one line.

The terminal passes all input through except 0x0A and 0x1C, shells drop NUL, and some treat
other bytes specially while reading. So a line to the agent holds only bytes that they all pass;
everything else becomes an octal escape of `printf`.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate

#: Longest format on one line; two of them fit in the smallest pipe, 4,096 bytes.
LONGEST_FORMAT = 1780

_PLAIN = frozenset(range(0x20, 0x7F)) | {0x0A}
_ESCAPES = {
    byte: f"\\{byte:03o}" if not 0x20 <= byte < 0x7F or byte == ord("'") else chr(byte)
    for byte in range(256)
} | {ord("%"): "%%", ord("\\"): "\\\\"}
# Bytes from 0x80 up survive quoting on a line, a pipe, `read -r` and printf unchanged, except
# the range that dash uses for its own marks.
_UNESCAPED = frozenset((*range(0x20, 0x7F), *range(0xA0, 0x100))) - set(b"'%\\")
_FORMAT = tuple(
    bytes([byte]) if byte in _UNESCAPED else _ESCAPES[byte].encode() for byte in range(256)
)
_LENGTHS = bytes(map(len, _FORMAT))
_HYPHEN = b"\\055"


def inline(values: Iterable[bytes], longest: int) -> bytes | None:
    """Write values as words of a command on one line; None if they do not fit."""
    words = []
    for value in values:
        if not _PLAIN.issuperset(value):
            return None
        # The agent's variable N holds a newline.
        words.append(_quote(value).replace(b"\n", b"'\"$N\"'"))
        longest -= len(words[-1]) + 1
        if longest < 0:
            return None
    return b" ".join(words)


def positional(values: Iterable[bytes]) -> bytes:
    """Write values (without NUL) as a script that sets them as the positional parameters."""
    return b"set -- " + b" ".join(map(_quote, values))


def formats(data: bytes, longest: int = LONGEST_FORMAT) -> Iterator[bytes]:
    """Cut bytes into `printf` formats that each fit in single quotes on one line."""
    start = 0
    while start < len(data):
        chunk = data[start : start + longest]
        # printf would take a format that starts with a hyphen for an option.
        option = chunk.startswith(b"-")
        room = longest - len(_HYPHEN) + 1 if option else longest
        ends = tuple(accumulate(chunk.translate(_LENGTHS)))
        size = max(1, bisect_right(ends, room))
        piece = b"".join([_FORMAT[byte] for byte in chunk[:size]])
        yield _HYPHEN + piece[1:] if option else piece
        start += size


def _quote(value: bytes) -> bytes:
    return b"'" + value.replace(b"'", b"'\\''") + b"'"
