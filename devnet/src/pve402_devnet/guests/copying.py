"""Copies a possibly hostile tree: files, directories and links, with their owners and modes."""

import os
import shutil
import stat
from pathlib import Path


def copy_tree(source: Path, target: Path) -> None:
    """Copy `source` and all below it to `target`, never following a link; a missing one is none.

    What is no file, directory or link is left out, and so is what vanishes meanwhile.
    """
    try:
        found = os.lstat(source)
        _copy(source, target, found.st_mode)
    except FileNotFoundError:
        return
    if os.path.lexists(target):
        if os.geteuid() == 0:
            os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            target.chmod(stat.S_IMODE(found.st_mode))


def _copy(source: Path, target: Path, mode: int) -> None:
    if stat.S_ISLNK(mode):
        target.symlink_to(source.readlink())
    elif stat.S_ISREG(mode):
        shutil.copyfile(source, target, follow_symlinks=False)
    elif stat.S_ISDIR(mode):
        target.mkdir(mode=0o700)
        for entry in os.scandir(source):
            copy_tree(Path(entry.path), target / entry.name)
