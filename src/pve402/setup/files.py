"""The files that the service reads: settings and catalogue, for their owner alone.

An existing file keeps its owner, its group and every line that is not ours to set.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

_FOR_THE_OWNER = 0o600
_MOST_THAT_STAYS = 0o640
_PLAIN = re.compile(r"[\w@%+=:,./!\-\[\]]*", re.ASCII)
_VARIABLE = re.compile(r"\s*(?:export\s+)?(\w+)\s*=")


def read_variables(file: Path) -> dict[str, str]:
    """Return the variables that a settings file sets; none if there is no such file."""
    values = dotenv_values(file, interpolate=False) if file.is_file() else {}
    found = {name.upper(): value for name, value in values.items() if value}
    if "ADDRESS" in found:  # the other name of PAY_TO
        found.setdefault("PAY_TO", found["ADDRESS"])
    return found


def with_variables(text: str, wanted: Mapping[str, str]) -> str:
    """Return the text of a settings file with these variables changed or added."""
    lines, unseen = [], {**wanted}
    for line in text.splitlines():
        found = _VARIABLE.match(line)
        name = found[1].upper() if found else ""
        unseen.pop(name, None)
        lines.append(_line(name, wanted[name]) if name in wanted else line)
    lines += [_line(name, value) for name, value in unseen.items()]
    return "".join(f"{line}\n" for line in lines)


def write(file: Path, text: str) -> None:
    """Replace a file as a whole. Raises OSError."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _FOR_THE_OWNER)
        with os.fdopen(descriptor, "w") as out:
            out.write(text)
            _keep_owner(file, out.fileno())
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def changed_names(before: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Return the variables that would get another value."""
    return sorted(name for name, value in wanted.items() if before.get(name) != value)


def _keep_owner(file: Path, descriptor: int) -> None:
    if not file.exists():
        return
    found = file.stat()
    if (found.st_uid, found.st_gid) != (os.geteuid(), os.getegid()):
        os.fchown(descriptor, found.st_uid, found.st_gid)
    os.fchmod(descriptor, _FOR_THE_OWNER | stat.S_IMODE(found.st_mode) & _MOST_THAT_STAYS)


def _line(name: str, value: str) -> str:
    if _PLAIN.fullmatch(value):
        return f"{name}={value}"
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{quoted}'"
