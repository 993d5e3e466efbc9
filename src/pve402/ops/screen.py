"""Tables for operators, on a screen or in a file."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_WIDEST_CHARACTERS = 10_000


def print_whole(console: Console, table: Table) -> None:
    """Print a table without cutting or folding any value: a partial identifier is useless.

    A terminal that is narrower than the table wraps the lines itself.
    """
    endless = console.options.update(width=_WIDEST_CHARACTERS)
    needed = console.measure(table, options=endless).maximum
    console.width = max(console.width, needed)
    console.print(table)


def plain(text: str) -> str:
    """Escape text from elsewhere: a table's markup, and whatever a terminal would act on."""
    return escape("".join(char if char.isprintable() else ascii(char)[1:-1] for char in text))
