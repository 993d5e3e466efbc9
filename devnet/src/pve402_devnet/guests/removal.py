"""Remove a tree that somebody hostile made, whatever modes and links are in it."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any


def remove_tree(path: Path) -> None:
    """Remove `path` and all below it, never following a link; a missing path is no error."""
    if path.exists():
        shutil.rmtree(path, onerror=_open_and_retry)


def _open_and_retry(
    _function: Callable[..., Any],
    path: str,
    error: tuple[type[BaseException], BaseException, TracebackType],
) -> None:
    """Make a directory without rights ours again, and what stands in it removable."""
    if not isinstance(error[1], PermissionError):
        raise error[1]
    parent = Path(path).parent
    parent.chmod(0o700)
    if Path(path).is_symlink() or not Path(path).is_dir():
        Path(path).unlink()
        return
    os.chmod(path, 0o700, follow_symlinks=True)  # noqa: PTH101 - no link, as just seen
    shutil.rmtree(path, onerror=_open_and_retry)
