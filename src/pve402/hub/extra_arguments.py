"""Adds arguments to a command given as text, where a shell user would add them.

They go after the last word of the last simple command: before a trailing comment, before the
body of a here-document, and never after a newline, where they would form a separate command.
If there is no such place (the text ends in `;`, in `done`, in an open quote) the request is
refused with the reason.
"""

import re
from dataclasses import dataclass

from pve402.hub import errors

ARGUMENTS = ' "$@"'

_OPERATOR = re.compile(r"&&|\|\||;;&?|;&|\|&|[;|()]|&(?!>)|\n")
_REDIRECTION = re.compile(r"\d*(?:<<<|<<-?|<>|<&|>&|>>|>\||<(?!\()|>(?!\())|&>>?")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")
_BLANKS = " \t"
#: Words that may be followed by a command that takes arguments.
_BEFORE_A_COMMAND = frozenset(
    {"!", "{", "if", "then", "else", "elif", "while", "until", "do", "time"}
)
#: Words that end a group of commands; a group takes no arguments.
_ENDS = frozenset({"fi", "done", "esac", "}", "[", "[[", "for", "case", "select", "function", "in"})


def add(command: str) -> str:
    """The command with `"$@"` where further arguments belong. Raises RequestRefused."""
    scanner = _Scanner(command)
    try:
        scanner.scan()
    except RecursionError:
        raise _refuse("it is nested too deeply") from None
    place = scanner.place()
    return command[:place] + ARGUMENTS + command[place:]


def _refuse(reason: str) -> errors.RequestRefused:
    return errors.RequestRefused(
        f"extraArgs cannot be added: {reason}. Use argv, or write the arguments into the command."
    )


@dataclass(kw_only=True)
class _Simple:
    """A simple command as read so far: where its last word ends, and what it runs."""

    end: int = 0
    runs: str = ""
    has_words: bool = False


@dataclass(frozen=True, kw_only=True)
class _Document:
    """A here-document: the line that ends it, and how its lines are read."""

    mark: str
    is_indented: bool
    joins_lines: bool


class _Scanner:
    """Reads shell text up to its end, or to the parenthesis that closes a substitution."""

    def __init__(self, text: str, position: int = 0, *, is_nested: bool = False) -> None:
        self.position = position
        self._text = text
        self._is_nested = is_nested
        self._depth = 0
        self._now = _Simple()
        self._last = _Simple()
        self._operator = "\n"
        self._documents: list[_Document] = []

    def place(self) -> int:
        """Where the arguments go. Raises RequestRefused."""
        if not self._now.has_words and self._operator != "\n":
            raise _refuse(f"the command ends in `{self._operator}`")
        last = self._now if self._now.has_words else self._last
        if not last.has_words or not last.runs:
            raise _refuse("the command does not end in a program that could take them")
        if last.runs in _ENDS:
            raise _refuse(f"the command ends in `{last.runs}`, not in a program")
        return last.end

    def scan(self) -> None:
        """Read to the end. Raises RequestRefused if the text ends in the middle of something."""
        while self.position < len(self._text):
            operator = _OPERATOR.match(self._text, self.position)
            if self._text.startswith("\\\n", self.position):
                self.position += 2
            elif self._text[self.position] in _BLANKS:
                self.position += 1
            elif self._text[self.position] == "#":
                self.position = self._find("\n")
            elif redirection := _REDIRECTION.match(self._text, self.position):
                self._redirect(redirection)
            elif operator and self._operate(operator.group()):
                return
            elif not operator:
                self._take_word()
        if self._is_nested or self._depth > 0:
            raise _refuse("a parenthesis is not closed")

    def _operate(self, operator: str) -> bool:
        """Handle an operator; True if it closes the current construct."""
        self.position += len(operator)
        if operator == ")" and self._is_nested and self._depth == 0:
            return True
        self._depth += (operator == "(") - (operator == ")")
        if self._now.has_words:
            self._last = self._now
        if operator != "\n" or self._now.has_words:
            self._operator = operator
        self._now = _Simple()
        if operator == "\n":
            self._skip_documents()
        return False

    def _redirect(self, redirection: re.Match[str]) -> None:
        self.position = redirection.end()
        while self._text[self.position : self.position + 1] in tuple(_BLANKS):
            self.position += 1
        start = self.position
        self._word()
        if self.position == start:
            raise _refuse("a redirection has no target")
        if redirection.group().lstrip("0123456789") in {"<<", "<<-"}:
            word = self._text[start : self.position].replace("\\\n", "")
            mark = re.sub(r"\\(.)|['\"]", r"\1", word)
            is_indented = redirection.group().endswith("-")
            self._documents.append(
                _Document(mark=mark, is_indented=is_indented, joins_lines=mark == word)
            )
        self._now.has_words = True
        self._now.end = self.position

    def _take_word(self) -> None:
        start = self.position
        self._word()
        word = self._text[start : self.position]
        self._now.has_words = True
        self._now.end = self.position
        if self._now.runs in {"", *_BEFORE_A_COMMAND} and not _ASSIGNMENT.match(word):
            self._now.runs = word
            if word == "case" and self._is_nested:
                raise _refuse("it has a `case` inside a substitution")

    def _skip_documents(self) -> None:
        """Read the bodies of the here-documents that started on this line."""
        for document in self._documents:
            while self.position < len(self._text):
                line = self._document_line(document)
                if line == document.mark:
                    break
        self._documents.clear()

    def _document_line(self, document: _Document) -> str:
        """Read a line, and those that backslashes join to it."""
        start, end = self.position, self._find("\n")
        while document.joins_lines and self._is_escaped(end):
            end = self._find("\n", end + 1)
        self.position = min(len(self._text), end + 1)
        line = self._text[start:end]
        return line.lstrip("\t") if document.is_indented else line

    def _is_escaped(self, end: int) -> bool:
        """Whether an odd number of backslashes stands before a newline."""
        start = end
        while start > 0 and self._text[start - 1] == "\\":
            start -= 1
        return end < len(self._text) and (end - start) % 2 == 1

    def _word(self) -> None:
        """Read one word, including anything quoted or substituted in it."""
        while self.position < len(self._text):
            letter = self._text[self.position]
            if letter in " \t\n;&|()<>":
                if not re.match(r"[<>]\(", self._text[self.position : self.position + 2]):
                    return
                self._substitution(2)
            else:
                self._letter(letter)

    def _letter(self, letter: str) -> None:
        match letter:
            case "\\":
                if self.position + 1 >= len(self._text):
                    raise _refuse("the command ends in a backslash")
                self.position += 2
            case "'":
                self.position = self._closing("'")
            case '"':
                self.position += 1
                self._until('"')
            case "`":
                self.position += 1
                self._until("`")
            case "$" if self._text.startswith("$(", self.position):
                self._substitution(2)
            case "$" if self._text.startswith("${", self.position):
                self.position += 2
                self._until("}")
            case _:
                self.position += 1

    def _until(self, end: str) -> None:
        """Read the text between double quotes, backticks or braces."""
        while self.position < len(self._text):
            letter = self._text[self.position]
            if letter == end:
                self.position += 1
                return
            if letter == "'" and end == '"':
                self.position += 1
            else:
                self._letter(letter)
        raise _refuse(f"a `{end}` is missing")

    def _substitution(self, size: int) -> None:
        inner = _Scanner(self._text, self.position + size, is_nested=True)
        inner.scan()
        self.position = inner.position

    def _closing(self, quote: str) -> int:
        end = self._text.find(quote, self.position + 1)
        if end < 0:
            raise _refuse(f"a `{quote}` is missing")
        return end + 1

    def _find(self, letter: str, start: int | None = None) -> int:
        found = self._text.find(letter, self.position if start is None else start)
        return len(self._text) if found < 0 else found
