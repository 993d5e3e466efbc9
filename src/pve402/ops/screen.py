"""Tables for operators, on a screen or in a file."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_WIDEST_CHARACTERS = 10_000


def print_whole(console: Console, table: Table) -> None:
    """Print a table with every value whole: an identifier that is cut or folded is of no use.

    A window that is narrower than the table breaks its lines by itself.
    """
    endless = console.options.update(width=_WIDEST_CHARACTERS)
    needed = console.measure(table, options=endless).maximum
    console.width = max(console.width, needed)
    console.print(table)


def plain(text: str) -> str:
    """Text from elsewhere, which may hold what a table would read as its markup."""
    return escape(text)
