"""A rollback of an isolated guest: its rules stand, and filter, before it runs again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.leases.test_isolation import NETWORK, SETTLED, SHIPPED, connected, read
from tests.support.installation import Installation, World, running
from tests.support.snapshots import snapshot_proxmox, snapshot_world

from pve402.domain import snapshots

__all__ = ["snapshot_proxmox", "snapshot_world"]


@pytest.fixture
async def fenced(tmp_path: Path, snapshot_world: World) -> AsyncIterator[Installation]:
    """An installation with an isolated network, whose storage takes snapshots."""
    snapshot_world[0].world.firewalls.cluster.options["enable"] = 1
    file = tmp_path / "catalogue.toml"
    file.write_text(SHIPPED + NETWORK + 'isolation = "tenant"\n')
    url, chosen = f"sqlite:///{tmp_path}/db.sqlite3", {"pve402_snapshots": 2}
    async with running(url, *snapshot_world, pve402_catalogue=file, **chosen) as made:
        yield made


async def test_rules_that_somebody_changed_are_written_and_filter_before_it_runs(
    fenced: Installation,
) -> None:
    row = await connected(fenced, (await fenced.lease(minutes=60)).lease)
    await fenced.leases.snapshots.take(row, "before")
    row, firewall = await read(fenced, row), fenced.proxmox.world.firewalls
    rules = list(firewall.read_guest(row.vmid).rules)
    firewall.read_guest(row.vmid).rules.clear()

    rolling = asyncio.create_task(fenced.leases.snapshots.roll_back(row, "before"))
    await fenced.until(lambda now: "its rules had been changed" in (now.last_error or ""))
    was_up, written = fenced.runs(row.vmid), list(firewall.read_guest(row.vmid).rules)
    fenced.pass_time(SETTLED)
    done = await rolling

    assert (was_up, written) == (False, rules)
    assert done.state is snapshots.State.THERE
    assert fenced.runs(row.vmid)
