"""Files of this user alone, such as keys, tokens and the spend ledger."""

import contextlib
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from pve402.client import errors

_BUSY_SECONDS: Final = 30.0


def config_folder() -> Path:
    """Where programs keep what the user chose: `pve402` in the XDG folder for configuration."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "pve402"


def state_folder() -> Path:
    """Where programs keep what they noted: `pve402` in the XDG state folder."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "pve402"


def ensure(path: Path) -> None:
    """Make a file if it is not there, and see to it that only this user can read it.

    It is not opened: closing it would drop the locks that this process has on it. Raises OSError.
    """
    try:
        facts = path.lstat()
    except FileNotFoundError:
        _make(path)
        facts = path.lstat()
    if facts.st_uid != os.geteuid() or not stat.S_ISREG(facts.st_mode):
        raise OSError("it is not a file of yours")
    if stat.S_IMODE(facts.st_mode) != 0o600:
        path.chmod(0o600)


@contextlib.contextmanager
def transaction(path: Path, versions: Sequence[str]) -> Iterator[sqlite3.Connection]:
    """Lock a SQLite file for the block, and have what the block did reach the disk.

    `versions` are the statements that lead from each version of the file to the next.
    Raises sqlite3.Error, OSError, and ValueError for a file of a later version.
    """
    ensure(path)
    database = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    with contextlib.closing(database):
        database.row_factory = sqlite3.Row
        database.execute("PRAGMA synchronous = EXTRA")
        database.execute("BEGIN IMMEDIATE")
        _prepare(database, versions)
        yield database
        database.execute("COMMIT")


@contextlib.contextmanager
def notes(path: Path, versions: Sequence[str]) -> Iterator[sqlite3.Connection]:
    """Do a transaction on a file of notes. Raises NotesUnusable where `transaction` fails."""
    try:
        with transaction(path, versions) as database:
            yield database
    except (sqlite3.Error, OSError, ValueError) as error:
        reason = errors.plain(error, 200)
        raise errors.NotesUnusable(f"{path} cannot be used: {reason}") from None


def write(path: Path, text: str, *, replaces: bool = True) -> None:
    """Replace a file at once, or make it. Raises OSError, FileExistsError if it may not replace."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # 0600
    try:
        with open(descriptor, "w", encoding="utf-8") as partial:  # noqa: PTH123 -- a descriptor
            partial.write(text)
            partial.flush()
            os.fsync(partial.fileno())
        if replaces:
            Path(name).replace(path)
        else:
            os.link(name, path)  # fails if there is one
            Path(name).unlink()
        _keep_names(path.parent)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _keep_names(folder: Path) -> None:
    """Have the names of a folder's files reach the disk: a key's file must outlast a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _prepare(database: sqlite3.Connection, versions: Sequence[str]) -> None:
    """Bring a file to the newest version."""
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found > len(versions):
        raise ValueError("a later version of pve402 wrote it")
    for version, statements in enumerate(versions[found:], found + 1):
        for statement in statements.split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {version}")


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # 0600
    os.close(descriptor)
    try:
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(name, path)
    finally:
        Path(name).unlink()
