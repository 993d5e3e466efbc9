"""Reads typed values from the untyped data of an answer.

Perl does not distinguish numbers from strings, so a number may arrive as either, and a figure
without a value may be missing, null or empty.
"""

from collections.abc import Mapping
from typing import Any

from pve402.proxmox import answers

Fields = Mapping[str, Any]
_INFINITY = float("inf")
_LARGEST_WHOLE = 2**63


def as_object(data: object, call: answers.Call) -> Fields:
    """`data` as an object. Raises UnexpectedAnswer (OutcomeUnknown after a write)."""
    if isinstance(data, dict):
        return data
    raise answers.unusable(call, "the data is not an object", status=200)


def as_rows(data: object, call: answers.Call) -> list[Fields]:
    """`data` as a list of objects. Raises UnexpectedAnswer."""
    if isinstance(data, list) and all(isinstance(row, dict) for row in data):
        return data
    raise answers.unusable(call, "the data is not a list of objects", status=200)


def text(fields: Fields, name: str, call: answers.Call) -> str:
    """The field `name`, which must be a non-empty string. Raises UnexpectedAnswer."""
    value = fields.get(name)
    if isinstance(value, str) and value:
        return value
    raise answers.unusable(call, f"the field {name} is missing", status=200)


def whole(fields: Fields, name: str, call: answers.Call) -> int:
    """The field `name`, which must be a whole number. Raises UnexpectedAnswer."""
    value = optional_whole(fields, name)
    if value is None:
        raise answers.unusable(call, f"the field {name} is not a number", status=200)
    return value


def optional_text(fields: Fields, name: str) -> str:
    """The field `name` as a string, empty if it has none."""
    value = fields.get(name)
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) else ""


def optional_whole(fields: Fields, name: str) -> int | None:
    """The field `name` as a whole number, None if it is not one."""
    value = fields.get(name)
    if type(value) is int and abs(value) < _LARGEST_WHOLE:  # the usual case
        return value
    number = optional_number(fields, name)
    return None if number is None else int(number)


def optional_number(fields: Fields, name: str) -> float | None:
    """The field `name` as a number, None if it is not one."""
    value = fields.get(name)
    if type(value) is float and abs(value) < _INFINITY:
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    # NaN and the infinities are not figures.
    return number if abs(number) < _INFINITY else None


def tags(fields: Fields) -> tuple[str, ...]:
    """The tags of a guest, which arrive as one string; ` ` means no tags."""
    return tuple(
        tag for tag in optional_text(fields, "tags").replace(",", ";").split(";") if tag.strip()
    )
