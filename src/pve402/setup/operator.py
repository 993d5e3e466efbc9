"""The operator at the keyboard: questions, and what they are told.

Commands to paste go to stdout, everything else to stderr. Text from elsewhere is made plain first.
"""

import sys
from typing import Protocol

import typer


class Cancelled(Exception):
    """The operator said no, or nobody can be asked; the text says what to do."""


class Operator(Protocol):
    """Whom we ask and tell."""

    @property
    def can_answer(self) -> bool:
        """Whether somebody is there to answer."""

    def tell(self, text: str) -> None:
        """Say something about the work."""

    def hand_out(self, line: str) -> None:
        """Print a line that is meant to be copied."""

    def ask(self, question: str, suggestion: str | None) -> str:
        """Ask for one line."""

    def ask_secret(self, question: str) -> str:
        """Ask for one line that nobody sees; it may be empty."""

    def agrees(self, question: str) -> bool:
        """Ask for yes or no; no by default."""


class Terminal:
    """The operator at a terminal, or a program without one."""

    @property
    def can_answer(self) -> bool:
        """Whether stdin is a terminal."""
        return sys.stdin.isatty()

    def tell(self, text: str) -> None:
        """Print on stderr."""
        typer.echo(plain(text), err=True)

    def hand_out(self, line: str) -> None:
        """Print on stdout."""
        typer.echo(plain(line))

    def ask(self, question: str, suggestion: str | None) -> str:
        """Ask on stderr."""
        return str(typer.prompt(question, default=suggestion, err=True)).strip()

    def ask_secret(self, question: str) -> str:
        """Ask without an echo."""
        return str(
            typer.prompt(question, default="", hide_input=True, show_default=False, err=True)
        )

    def agrees(self, question: str) -> bool:
        """Ask on stderr."""
        return typer.confirm(question, default=False, err=True)


def plain(text: str) -> str:
    """Escape whatever a terminal would act on."""
    return "".join(
        char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text
    )
