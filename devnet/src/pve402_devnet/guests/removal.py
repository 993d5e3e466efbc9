"""Removes a possibly hostile tree, whatever modes and links it contains."""

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
    """Restore our rights on a directory, so that its contents can be removed."""
    if not isinstance(error[1], PermissionError):
        raise error[1]
    parent = Path(path).parent
    parent.chmod(0o700)
    if Path(path).is_symlink() or not Path(path).is_dir():
        Path(path).unlink()
        return
    os.chmod(path, 0o700, follow_symlinks=True)  # noqa: PTH101 - not a link, as just checked
    shutil.rmtree(path, onerror=_open_and_retry)
