"""Whom a SQLite file can be read by."""

import stat
from pathlib import Path

from pve402.storage import database, tables


async def test_a_new_file_and_its_log_are_for_their_owner_alone(tmp_path: Path) -> None:
    db = await database.Database(f"sqlite+aiosqlite:///{tmp_path}/leases.sqlite3").open()
    async with db.begin() as tx:
        await tx.execute(tables.facts.insert().values(name="colour", value="blue"))

    modes = modes_in(tmp_path)
    await db.close()

    assert "leases.sqlite3-wal" in modes
    assert set(modes.values()) == {0o600}


def modes_in(folder: Path) -> dict[str, int]:
    """The permissions of the files of a folder."""
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
