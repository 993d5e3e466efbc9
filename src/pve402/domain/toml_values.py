"""Reads single values of the catalogue's TOML; each mistake is told with its place."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from pve402.domain import price


class CatalogueError(ValueError):
    """The catalogue is invalid; `reason` says where, and the text also names the file."""

    def __init__(self, reason: str, *, file: str = "") -> None:
        super().__init__(f"{file}: {reason}" if file else reason)
        self.reason = reason


def factor(where: str, table: dict[str, Any], key: str, *, most: int) -> Decimal | None:
    """Return a number from 0 to `most`, or None; only `swap` may be 0."""
    found = table.get(key)
    if found is None:
        return None
    if type(found) not in {int, float} or not 0 <= found <= most or (key != "swap" and not found):
        raise CatalogueError(f"{where}.{key}: must be a number from 0 to {most}")
    return Decimal(str(found))


def switch(where: str, table: dict[str, Any], key: str, *, default: bool) -> bool:
    """Return what a switch says."""
    found = table.get(key, default)
    if not isinstance(found, bool):
        raise CatalogueError(f"{where}.{key}: must be true or false")
    return found


def usd(where: str, value: Any) -> Fraction:
    """Return the exact value of an amount, which is written as a string."""
    if not isinstance(value, str):
        raise CatalogueError(f'{where}: must be a decimal string such as "0.0002"')
    try:
        return price.parse_usd(value)
    except ValueError as error:
        raise CatalogueError(f"{where}: {error}") from error


def table(data: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a table within another one; an empty one if there is none."""
    found = data.get(key, {})
    if not isinstance(found, dict):
        raise CatalogueError(f"{key}: must be a table")
    return found


def refuse_unknown(where: str, table: dict[str, Any], known: set[str]) -> None:
    """Refuse keys that nobody reads."""
    unknown = sorted(set(table) - known)
    if unknown:
        raise CatalogueError(f"{where}: unknown key {unknown[0]!r}")
