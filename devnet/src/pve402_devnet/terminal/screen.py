"""A small terminal screen: the cells that output leaves behind, and answers it asks for (sans-I/O).

Knows what shells and line editors use: cursor movement, erasing, scrolling, the position report.
Colours and everything else are read and forgotten.
"""

import codecs
import re
from collections.abc import Callable

_SEQUENCE = re.compile(
    r"\x1b(?:\[([0-?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()#].|[^\[\]()#])"
)
_PARTIAL_LIMIT = 256


class Screen:
    """The visible cells; `changed` holds the numbers of rows written since it was last emptied."""

    def __init__(self, columns: int, rows: int, answer: Callable[[bytes], None]) -> None:
        self.columns = columns
        self.rows = rows
        self.cells = [[" "] * columns for _ in range(rows)]
        self.changed = set(range(rows))
        self.x = self.y = 0
        self._answer = answer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._partial = ""

    def feed(self, data: bytes) -> None:
        """Draw output."""
        text = self._partial + self._decoder.decode(data)
        self._partial = ""
        position = 0
        while position < len(text):
            if text[position] != "\x1b":
                self._put(text[position])
                position += 1
                continue
            match = _SEQUENCE.match(text, position)
            if match is None:
                self._keep_partial(text[position:])
                return
            if match[2]:
                self._control(match[1], match[2])
            position = match.end()

    def line(self, row: int) -> str:
        """Read one row as text."""
        return "".join(self.cells[row])

    def _keep_partial(self, rest: str) -> None:
        if len(rest) <= _PARTIAL_LIMIT:
            self._partial = rest

    def _put(self, character: str) -> None:
        if character == "\n":
            self._line_feed()
        elif character == "\r":
            self.x = 0
        elif character == "\b":
            self.x = max(0, self.x - 1)
        elif character == "\t":
            self.x = min(self.columns - 1, (self.x // 8 + 1) * 8)
        elif character >= " " and character != "\x7f":
            self._draw(character)

    def _draw(self, character: str) -> None:
        if self.x >= self.columns:
            self.x = 0
            self._line_feed()
        self.cells[self.y][self.x] = character
        self.changed.add(self.y)
        self.x += 1

    def _line_feed(self) -> None:
        if self.y < self.rows - 1:
            self.y += 1
            return
        del self.cells[0]
        self.cells.append([" "] * self.columns)
        self.changed.update(range(self.rows))

    def _control(self, parameters: str, final: str) -> None:
        numbers = [int(p[:5]) if p.isdigit() else 0 for p in parameters.split(";")]
        count = max(1, numbers[0])
        if final in "ABCD":
            dx, dy = {"A": (0, -1), "B": (0, 1), "C": (1, 0), "D": (-1, 0)}[final]
            self._move(self.x + dx * count, self.y + dy * count)
        elif final in "Hf":
            self._move(numbers[1] - 1 if len(numbers) > 1 else 0, count - 1)
        elif final == "G":
            self._move(count - 1, self.y)
        elif final == "J":
            self._erase_screen(numbers[0])
        elif final == "K":
            self._erase_line(numbers[0])
        elif final == "n" and numbers[0] == 6:
            self._answer(f"\x1b[{self.y + 1};{min(self.x, self.columns - 1) + 1}R".encode())

    def _move(self, x: int, y: int) -> None:
        self.x = min(max(0, x), self.columns - 1)
        self.y = min(max(0, y), self.rows - 1)

    def _erase_line(self, kind: int) -> None:
        start = self.x if kind == 0 else 0
        end = self.x + 1 if kind == 1 else self.columns
        for x in range(start, min(end, self.columns)):
            self.cells[self.y][x] = " "
        self.changed.add(self.y)

    def _erase_screen(self, kind: int) -> None:
        self._erase_line(kind)
        whole = {0: range(self.y + 1, self.rows), 1: range(self.y)}.get(kind, range(self.rows))
        for y in whole:
            self.cells[y] = [" "] * self.columns
            self.changed.add(y)
