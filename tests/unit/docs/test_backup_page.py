"""The steps of the page on backups, done as they are written."""

import contextlib
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

from tests.support import project

PAGE = project.ROOT / "docs" / "how-to" / "backup-and-rebuild.md"


def test_a_backup_is_put_back_over_what_a_crash_left(tmp_path: Path):
    service, backup, crashed = (tmp_path / name for name in ("service", "backup", "crashed"))
    for folder in (service, backup):
        folder.mkdir()
    with contextlib.closing(sqlite3.connect(service / "pve402.sqlite3")) as at_work:
        write(at_work, "PRAGMA journal_mode=WAL", "CREATE TABLE t (v)", "INSERT INTO t VALUES (1)")
        write(at_work, "PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(service / "pve402.sqlite3", backup)
        (backup / "pve402.sqlite3.key").write_text("key")
        write(at_work, "INSERT INTO t VALUES (2)")
        shutil.copytree(service, crashed)

    subprocess.run(["sh", "-ec", steps(crashed, backup)], check=True, timeout=30)

    with contextlib.closing(sqlite3.connect(crashed / "pve402.sqlite3")) as restored:
        assert restored.execute("SELECT v FROM t").fetchall() == [(1,)]
    assert (crashed / "pve402.sqlite3.key").read_text() == "key"


def write(connection: sqlite3.Connection, *statements: str) -> None:
    """Run statements, each committed at once."""
    connection.isolation_level = None
    for statement in statements:
        connection.execute(statement)


def steps(service: Path, backup: Path) -> str:
    """The page's commands for restoring a backup, with other folders."""
    part = PAGE.read_text().partition("## Restore a backup")[2]
    found = re.search(r"```sh\n(.*?)```", part, re.DOTALL)
    assert found is not None
    return found[1].replace("/var/lib/pve402", str(service)).replace("/backup", str(backup))
