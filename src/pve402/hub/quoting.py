"""Writes any bytes as printable text of the POSIX shell, in pieces that fit into one line.

The terminal passes input through except for 0x0A and 0x1C, shells drop NUL, and some treat
other bytes specially while they read. So a line to the agent holds only printable
ASCII; everything else becomes an octal escape of `printf`.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

#: A value longer than this, written out, travels in pieces before the line that uses it.
LONGEST_INLINE = 1200
#: Longest piece of a value in one line.
LONGEST_PIECE = 1600

_PLAIN = frozenset(range(0x20, 0x7F)) | {0x0A}
_FORMAT = {
    byte: f"\\{byte:03o}" if not 0x20 <= byte < 0x7F or byte == ord("'") else chr(byte)
    for byte in range(256)
} | {ord("%"): "%%", ord("\\"): "\\\\"}
# Through the pipe to a command's stdin, read by `read -r` and written by printf, the upper
# half passes as it is; only the range that dash uses for its own marks is left out.
_STDIN_PLAIN = frozenset((*range(0x20, 0x7F), *range(0xA0, 0x100))) - set(b"'%\\")
_STDIN = tuple(
    bytes([byte]) if byte in _STDIN_PLAIN else _FORMAT[byte].encode() for byte in range(256)
)
_STDIN_LENGTHS = bytes(map(len, _STDIN))
_HYPHEN = b"\\055"


@dataclass(frozen=True, kw_only=True)
class QuotedWords:
    """Shell text `text` that stands for a list of values, after `lines` were executed."""

    lines: tuple[str, ...] = field(repr=False)
    text: str = field(repr=False)


def quote_words(values: list[bytes]) -> QuotedWords:
    """Write values as words of one shell command.

    Values hold no NUL; the caller has refused it. Long ones, and ones with bytes outside
    ASCII, are first put into variables V0, V1, ...
    """
    lines: list[str] = []
    words: list[str] = []
    room = LONGEST_INLINE
    for number, value in enumerate(values):
        word = quote(value) if is_plain(value) and len(value) <= room else None
        if word is None or len(word) > room:
            lines.extend(_assignments(number, value))
            word = f'"$V{number}"'
        room = max(0, room - len(word))
        words.append(word)
    return QuotedWords(lines=tuple(lines), text=" ".join(words))


def is_plain(value: bytes) -> bool:
    """Whether the value is printable ASCII and newlines alone."""
    return _PLAIN.issuperset(value)


def quote(value: bytes) -> str:
    """Quote printable ASCII and newlines; N holds the newline in the agent."""
    text = value.decode("ascii").replace("'", "'\\''").replace("\n", "'\"$N\"'")
    return f"'{text}'"


def octal(value: bytes) -> str:
    """Write bytes as a format of `printf`, fit for single quotes."""
    text = "".join(_FORMAT[byte] for byte in value)
    return "\\055" + text[1:] if text.startswith("-") else text


def stdin_formats(data: bytes, longest: int) -> Iterator[tuple[bytes, int]]:
    """Cut stdin into formats of `printf`; yields each with the number of bytes it stands for."""
    start = 0
    while start < len(data):
        chunk = data[start : start + longest]
        # A format that starts with a hyphen would be taken for an option.
        option = chunk.startswith(b"-")
        room = longest - len(_HYPHEN) + 1 if option else longest
        ends = tuple(accumulate(chunk.translate(_STDIN_LENGTHS)))
        size = max(1, bisect_right(ends, room))
        piece = b"".join([_STDIN[byte] for byte in chunk[:size]])
        yield (_HYPHEN + piece[1:] if option else piece), size
        start += size


def _assignments(number: int, value: bytes) -> Iterator[str]:
    name = f"V{number}"
    yield f"{name}="
    step = LONGEST_PIECE // 6  # a newline takes six characters
    for start in range(0, len(value), step):
        piece = value[start : start + step]
        if is_plain(piece):
            yield f"{name}=${name}{quote(piece)}"
        else:
            yield f"v {number} '{octal(piece)}'"
