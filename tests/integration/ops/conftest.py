"""One installation in this process, on a SQLite file."""

from pathlib import Path

import pytest
from tests.support.chain import chain, facilitator
from tests.support.installation import installation, proxmox, world

__all__ = ["chain", "facilitator", "installation", "proxmox", "world"]


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """The address of an empty SQLite file."""
    return f"sqlite:///{tmp_path}/pve402.sqlite3"
