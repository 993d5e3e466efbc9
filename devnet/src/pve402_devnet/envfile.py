"""The file with the devnet's settings: written atomically, and readable only by its owner."""

from __future__ import annotations

import contextlib
import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path

HEADER = "# Written by `pve402-devnet`. Worthless once it has ended.\n"


def write(path: Path, settings: Mapping[str, str]) -> None:
    """Write the settings atomically, mode 0600; an old file is replaced.

    Raises:
        OSError: the directory is missing or cannot be written to.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text_of(settings))
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def remove(path: Path, settings: Mapping[str, str]) -> None:
    """Remove the file, unless somebody has replaced it."""
    with contextlib.suppress(OSError):
        if path.read_text("utf-8") == text_of(settings):
            path.unlink()


def text_of(settings: Mapping[str, str]) -> str:
    """Return the settings as lines that both shells and dotenv readers understand."""
    lines = (f"{name}={shlex.quote(value)}\n" for name, value in settings.items())
    return HEADER + "".join(lines)
