"""Reads typed fields from untrusted JSON.

Each function raises PaymentMalformed if a field is missing, of the wrong type or out of range; no
message repeats the input.
"""

import re
from typing import Any, Final, NoReturn

from pve402.payments import addresses, errors
from pve402.payments.errors import Code

UINT256_MAX: Final = 2**256 - 1

_WORD: Final = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_HEX: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})+", re.ASCII)
_DECIMAL: Final = re.compile(r"[0-9]{1,78}", re.ASCII)


def json_object(holder: dict[str, Any], name: str) -> dict[str, Any]:
    """Read an object."""
    found = holder.get(name)
    if not isinstance(found, dict):
        malformed(f"{name} is not an object")
    return found


def text(holder: dict[str, Any], name: str) -> str:
    """Read a string."""
    found = holder.get(name)
    if not isinstance(found, str):
        malformed(f"{name} is not a string")
    return found


def address(holder: dict[str, Any], name: str) -> str:
    """Read an EVM address, in lower case."""
    return _matching(holder, name, addresses.ADDRESS, 42)


def word(holder: dict[str, Any], name: str) -> str:
    """Read 32 bytes as `0x` and lower-case hex."""
    return _matching(holder, name, _WORD, 66)


def hex_bytes(holder: dict[str, Any], name: str, most_bytes: int) -> str:
    """Read at least one byte as `0x` and lower-case hex."""
    return _matching(holder, name, _HEX, 2 + 2 * most_bytes)


def uint256(holder: dict[str, Any], name: str) -> int:
    """Read a number sent as a decimal string; also accepts plain integers."""
    found = holder.get(name)
    if isinstance(found, str) and _DECIMAL.fullmatch(found):
        found = int(found)
    if type(found) is not int or not 0 <= found <= UINT256_MAX:
        malformed(f"{name} is not a whole number of 256 bits")
    return found


def malformed(detail: str, code: Code = Code.MALFORMED) -> NoReturn:
    """Raise PaymentMalformed with a detail."""
    raise errors.PaymentMalformed(code, detail) from None


def _matching(
    holder: dict[str, Any], name: str, pattern: re.Pattern[str], max_characters: int
) -> str:
    found = text(holder, name)
    if len(found) > max_characters or not pattern.fullmatch(found):
        malformed(f"{name} is not valid hex")
    return found.lower()
