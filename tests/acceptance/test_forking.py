"""Forks over HTTP: one payment, two copies with what the container had, each on its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support import processes
from tests.support.processes import DevnetProcess, ServeProcess

from pve402 import sdk
from pve402.client import refusals


@pytest.fixture(scope="module")
def selling(
    devnet: DevnetProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServeProcess]:
    """A server that makes up to three copies at once."""
    folder = tmp_path_factory.mktemp("forks")
    with processes.serving(folder, devnet, PVE402_FORKS="3") as made:
        yield made


def test_copies_have_what_the_container_had_and_live_on_their_own(
    devnet: DevnetProcess, selling: ServeProcess
) -> None:
    key, size = devnet.wallet().key.hex(), {"memory_mb": 256, "disk_gb": 2}
    wish = {"minutes": 10, "sku": "basic-lxc", "hostname": "source"}
    with sdk.Box.lease(selling.url, key=key, **wish, **size) as box:
        box.files.write("/root/notes.txt", "from before")
        if box.can_fork().needs_stop:
            with pytest.raises(refusals.Refused) as refused:
                box.fork(minutes=5)
            assert refused.value.code == "fork_needs_stop"
            box.stop()
        first, second = copies = box.fork(minutes=5, count=2, hostname="copy", max_usd="0.50")

    try:
        assert [one.run("hostname").stdout for one in copies] == ["copy\n", "copy-2\n"]
        first.files.write("/root/notes.txt", "of the first")
        assert second.files.read_text("/root/notes.txt") == "from before"
        first.end()
        assert second.run("true").exit_code == 0
    finally:
        for one in copies:
            one.close()
