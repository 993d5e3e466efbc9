"""Snapshots and forks over HTTP: one payment, two copies of a snapshot, each on its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import processes
from tests.support.processes import DevnetProcess, ServeProcess

from pve402 import sdk


@pytest.fixture(scope="module")
def selling(
    devnet: DevnetProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    """A server on a thin pool, as docs/reference/devnet.md starts it."""
    folder = tmp_path_factory.mktemp("forks")
    settings = {"PVE_STORAGE": "local-lvm", "PVE402_SNAPSHOTS": "3", "PVE402_FORKS": "3"}
    with processes.serving(folder, devnet, **settings) as made:
        yield made


def test_a_snapshot_gives_its_files_to_copies_and_back_to_the_container(
    devnet: DevnetProcess, selling: ServeProcess
) -> None:
    key, size = devnet.wallet().key.hex(), {"memory_mb": 256, "disk_gb": 2}
    wish = {"minutes": 10, "sku": "basic-lxc", "hostname": "source"}
    with sdk.Box.lease(selling.url, key=key, **wish, **size) as box:
        box.files.write("/root/notes.txt", "from before")
        box.snapshots.take("before")
        box.files.write("/root/notes.txt", "from after")
        first, second = copies = box.fork(
            minutes=5, count=2, hostname="copy", snapshot="before", max_usd="0.50"
        )
        box.snapshots.roll_back("before")
        assert box.files.read_text("/root/notes.txt") == "from before"

    try:
        assert [one.run("hostname").stdout for one in copies] == ["copy\n", "copy-2\n"]
        first.files.write("/root/notes.txt", "of the first")
        assert second.files.read_text("/root/notes.txt") == "from before"
        first.end()
        assert second.run("true").exit_code == 0
    finally:
        for one in copies:
            one.close()
