"""Text of services and guests, cleaned and cut for an agent.

Nothing in it can move a cursor, hide what is written or exceed a bound; what was left out or
replaced is counted.
"""

import re
from dataclasses import dataclass
from typing import Final

from pve402.client import errors

#: Sequences that a terminal obeys: colours, titles, cursor moves.
_SEQUENCES: Final = re.compile(
    r"\x1b\[[0-?]{0,64}[ -/]{0,16}[@-~]"
    r"|\x1b\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)"
    r"|\x1b[ -/]{0,4}[0-~]"
)
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/+@-]{0,99}")
_REPLACED: Final = "\N{REPLACEMENT CHARACTER}"


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """Text without control characters, and how many characters of it were replaced."""

    text: str
    replaced: int


def cleaned(text: str) -> Cleaned:
    """Replace what is not printable, such as invisible marks, but for line ends and tabs."""
    found = [_shown(text[at], text[at : at + 2]) for at in range(len(text))]
    return Cleaned(
        text="".join(found),
        replaced=sum(new != old for new, old in zip(found, text, strict=True)),
    )


def word(text: str) -> str:
    """A name or a number as it is; what could be a sentence or a secret becomes a question mark."""
    return text if _WORD.fullmatch(text) and errors.told(text) == text else "?"


def from_terminal(text: str) -> str:
    """Clean a program's output: sequences for terminals are dropped, not shown as rubbish."""
    return cleaned(_SEQUENCES.sub("", text).replace("\r\n", "\n")).text


class Kept:
    """The beginning and the end of a stream of bytes, or a page of it from `skipped_bytes` on."""

    def __init__(self, most_bytes: int, *, skipped_bytes: int | None = None) -> None:
        self._tail_bytes = most_bytes // 2 if skipped_bytes is None else 0
        self._head_bytes = most_bytes - self._tail_bytes
        self._skipped_bytes = skipped_bytes or 0
        self._head = bytearray()
        self._tail = bytearray()
        self.seen_bytes = 0

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        new = data[max(0, self._skipped_bytes - self.seen_bytes) :]
        self.seen_bytes += len(data)
        room = self._head_bytes - len(self._head)
        self._head += new[:room]
        self._tail += new[room:]
        del self._tail[: max(0, len(self._tail) - self._tail_bytes)]

    @property
    def left_out_bytes(self) -> int:
        """How many bytes are not kept, beside those that were to be skipped."""
        wanted = max(0, self.seen_bytes - self._skipped_bytes)
        return wanted - len(self._head) - len(self._tail)

    def text(self) -> str:
        """What is kept, cleaned; a line says where how much is missing."""
        if not self.left_out_bytes:
            return _decoded(self._head + self._tail)
        missing = f"[... {self.left_out_bytes} bytes left out here ...]"
        return f"{_decoded(self._head)}\n{missing}\n{_decoded(self._tail)}"


def _decoded(data: bytearray) -> str:
    return from_terminal(data.decode(errors="replace"))


def _shown(character: str, pair: str) -> str:
    is_kept = character.isprintable() or character in "\n\t" or pair == "\r\n"
    return character if is_kept else _REPLACED
