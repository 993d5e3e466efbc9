"""Writes values into paths and parameters of the Proxmox VE API."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeAlias
from urllib.parse import quote

Value: TypeAlias = str | int | float | Decimal | bool | None
Parameters: TypeAlias = Mapping[str, Value]

#: Parameters whose values must never appear in an error or a log.
SECRET_NAMES = frozenset({"password", "vncticket", "ticket", "value", "confirmation-password"})


def api_path(*segments: str | int) -> str:
    """The path of a call, each segment percent-encoded.

    A UPID must be encoded: some proxies and daemons silently misread a path with its bare
    colons and exclamation mark as a different call.

    Raises ValueError for a segment that would change the path's shape.
    """
    texts = [str(segment) for segment in segments]
    if any(text in {"", ".", ".."} for text in texts):
        raise ValueError("a path segment is empty or relative")
    return "/" + "/".join(quote(text, safe="") for text in texts)


def encode(parameters: Parameters) -> dict[str, str]:
    """`parameters` as Proxmox expects them: booleans become 0 and 1, None is left out."""
    return {name: _text(value) for name, value in parameters.items() if value is not None}


def secret_values(parameters: Parameters) -> tuple[str, ...]:
    """The values in `parameters` that must be kept secret."""
    return tuple(
        value
        for name, value in parameters.items()
        if name in SECRET_NAMES and isinstance(value, str)
    )


def property_string(properties: Mapping[str, Value]) -> str:
    """`properties` as one `name=value,name=value` text, such as that of `net0`.

    Raises ValueError if a value contains a comma, which would add a property.
    """
    encoded = encode(properties)
    if any("," in text for text in encoded.values()):
        raise ValueError("a property value must not contain a comma")
    return ",".join(f"{name}={text}" for name, text in encoded.items())


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    return str(value)
