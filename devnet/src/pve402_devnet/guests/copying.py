"""Copies a possibly hostile tree: files, directories and links, with owners, modes and times.

Its guest may run and change it meanwhile, so every entry is opened below the directory that was
opened before it, and no link is followed, not even one that has just taken a directory's place.
"""

import errno
import os
import shutil
import stat
from pathlib import Path

from pve402_devnet.guests import removal

_AS_IT_IS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # a pipe's opening would wait for a writer
_CHANGED_MEANWHILE = (errno.ENOENT, errno.ELOOP, errno.EINVAL, errno.ENXIO)


def replace_tree(source: Path, target: Path) -> None:
    """Make `target` a copy of `source`, whatever it was; without a `source` it stays as it is."""
    os.lstat(source)
    removal.remove_tree(target)
    copy_tree(source, target)


def copy_tree(source: Path, target: Path) -> None:
    """Copy `source` and all below it to `target`, which is not there; a missing one is none.

    What is no file, directory or link is left out, and so is what vanishes meanwhile.
    """
    _copy_entry(str(source), None, target)


def _copy_entry(name: str, folder: int | None, target: Path) -> None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISLNK(found.st_mode):
            target.symlink_to(os.readlink(name, dir_fd=folder))
        elif stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
            found = _copy_content(os.open(name, _AS_IT_IS, dir_fd=folder), target)
    except OSError as error:
        if error.errno in _CHANGED_MEANWHILE:
            return
        raise
    if os.path.lexists(target):
        _copy_facts(found, target)


def _copy_content(opened: int, target: Path) -> os.stat_result:
    """Copy what was opened, and close it; returns what it turned out to be."""
    try:
        found = os.fstat(opened)
        if stat.S_ISREG(found.st_mode):
            with open(opened, "rb", closefd=False) as source, target.open("xb") as copied:
                shutil.copyfileobj(source, copied)
        elif stat.S_ISDIR(found.st_mode):
            target.mkdir(mode=0o700)
            for name in os.listdir(opened):
                _copy_entry(name, opened, target / name)
        return found
    finally:
        os.close(opened)


def _copy_facts(found: os.stat_result, target: Path) -> None:
    if os.geteuid() == 0:
        os.chown(target, found.st_uid, found.st_gid, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        target.chmod(stat.S_IMODE(found.st_mode))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns), follow_symlinks=False)
