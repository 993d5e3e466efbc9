"""What a size gets of CPU time and swap, and what a network lets through, is on its guest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.installation import running

from pve402.domain import lease
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox

World = tuple[SimulatedProxmox, SimulatedChain, SimulatedFacilitator]
SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()
SHARES = "swap = 0.5\ncpu_limit = 0.25\ncpu_units = 50\n"
NETWORK = '[network.lan]\ndefault = true\nbridge = "vmbr0"\nipv4 = "dhcp"\nrate_mbps = 12.5\n'
BIG = {"size": lease.Size(cores=2, memory_mb=1024, disk_gb=8)}


@pytest.fixture
def world(
    proxmox: SimulatedProxmox, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> World:
    """What an installation lives in."""
    return proxmox, chain, facilitator


@pytest.mark.parametrize(
    ("shares", "pool", "wish", "expected"),
    [
        ("", "", {}, {"swap": "0"}),
        (SHARES, "", {}, {"swap": "256", "cpulimit": "0.25", "cpuunits": "50"}),
        (SHARES, "", BIG, {"swap": "512", "cpulimit": "0.5", "cpuunits": "100"}),
        (SHARES.replace("50\n", "9000\n"), "", BIG, {"cpuunits": "10000"}),
        (SHARES, "standard-lxc:1:512:8=1", {}, {"swap": "256", "cpuunits": "50"}),
    ],
)
async def test_a_size_has_its_shares(
    tmp_path: Path,
    world: World,
    shares: str,
    pool: str,
    wish: dict[str, Any],
    expected: dict[str, str],
) -> None:
    file = tmp_path / "catalogue.toml"
    file.write_text(
        SHIPPED.replace("[sku.standard-lxc]", f"[sku.standard-lxc]\n{shares}") + NETWORK
    )
    chosen: dict[str, Any] = {"pve402_catalogue": file, "pve402_pool": pool}
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, **chosen) as made:
        if pool:
            await made.pool_of(1)
        row = (await made.lease(**wish)).lease
        options = made.proxmox.world.guests[row.vmid].config.options

    assert {name: str(options.get(name)) for name in expected} == expected
    assert "rate=12.5" in options["net0"]
    assert (row.pooled_at is not None) is bool(pool)
    if not shares:
        assert {"cpulimit", "cpuunits"}.isdisjoint(options)
