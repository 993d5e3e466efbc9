"""The variables that a tenant gives all commands of a lease: which names and how much."""

import itertools
import re
from collections.abc import Mapping
from typing import Final

from pve402.domain import errors

MOST: Final = 64
MOST_BYTES: Final = 32 * 1024

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
#: Some shell keeps these to itself: it would refuse them, or read what follows differently.
_SHELLS_OWN = frozenset(
    {"_", "CDPATH", "EUID", "GROUPS", "IFS", "LINENO", "OLDPWD", "OPTARG", "OPTERR", "OPTIND"}
    | {"PPID", "PS4", "PWD", "RANDOM", "SECONDS", "SHELLOPTS", "UID"}
)
_KEPT = re.compile(r"(BASH|PVE402_).*|_[a-z]")  # the last are those of `hub.invocation`


def check(given: Mapping[str, str]) -> None:
    """Raise InvalidEnv, which says why and no value, unless every shell can set them all."""
    if len(given) > MOST:
        raise errors.InvalidEnv(f"Give at most {MOST} variables in env.")
    for name, value in given.items():
        if not _NAME.fullmatch(name):
            raise errors.InvalidEnv(
                "A name in env must be of letters, digits and _, not begin with a digit, and have"
                " at most 128 characters."
            )
        if name in _SHELLS_OWN or _KEPT.fullmatch(name):
            raise errors.InvalidEnv(f"env cannot set {name}: shells or the service keep it.")
        if "\0" in value:
            raise errors.InvalidEnv(f"The value of {name} in env has a NUL character.")
    if sum(_bytes(name) + _bytes(value) for name, value in given.items()) > MOST_BYTES:
        raise errors.InvalidEnv(f"All of env together must be at most {MOST_BYTES:,} bytes.")


def usable(found: Mapping[str, str]) -> dict[str, str]:
    """Return those of foreign variables that every shell can set, as many as may be."""
    kept: dict[str, str] = {}
    room = MOST_BYTES
    for name, value in itertools.islice(found.items(), MOST):
        try:
            check({name: value})
        except errors.InvalidEnv:
            continue
        room -= _bytes(name) + _bytes(value)
        if room >= 0:
            kept[name] = value
    return kept


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def script(given: Mapping[str, str]) -> bytes:
    """Return shell text that exports them, for a shell to read with `.`."""
    lines = (f"export {name}={_quoted(value)}\n" for name, value in given.items())
    return "".join(lines).encode("utf-8", "surrogateescape")


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"
