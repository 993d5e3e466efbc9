"""Addresses that two guests would share, and guests that nothing fences."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.installation import Installation, World, running

from pve402.domain import errors, lease, networks

SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()
POOL = '{ subnet = "10.7.0.0/24", gateway = "10.7.0.1", ranges = ["10.7.0.10-10.7.0.99"] }'
FENCED = SHIPPED + (
    f'\n[network.tenants]\ndefault = true\nbridge = "vmbr0"\nisolation = "tenant"\nipv4 = {POOL}\n'
)


def cards(made: Installation) -> list[str]:
    """The network card of each guest."""
    return [guest.config.text("net0") for guest in made.proxmox.world.guests.values()]


@pytest.mark.parametrize(
    ("address", "more"),
    [
        ("10.0.0.51/24", {}),
        ("10.0.0.52/24", {"pve_gateway": "10.0.0.1"}),
        ("10.9.0.1/32", {}),
        ("fd00::5/64", {"pve_gateway": "fd00::1"}),
        ("10.0.0.53/24", {"pve402_pool": "standard-lxc:1:512:8=2"}),
    ],
)
async def test_no_two_guests_get_one_address(
    tmp_path: Path, world: World, address: str, more: dict[str, Any]
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *world, pve_ip=address, **more) as made:
        outcomes = await asyncio.gather(*(made.lease() for _ in range(3)), return_exceptions=True)
        await made.settled_down()
        having = [card for card in cards(made) if f"={address}" in card]
        sold = [one for one in outcomes if not isinstance(one, BaseException)]

    assert all(isinstance(one, errors.Pve402Error) for one in outcomes if one not in sold)
    assert len(having) == 1


@pytest.mark.parametrize("way", ["cold", "warm", "rebooted", "started again", "renewed in grace"])
async def test_a_fenced_guest_has_its_own_firewall_switched_on(
    tmp_path: Path, world: World, way: str
) -> None:
    catalogue_file = tmp_path / "catalogue.toml"
    catalogue_file.write_text(FENCED)
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    world[0].world.firewalls.cluster.options["enable"] = 1
    pool = "standard-lxc:1:512:8=1" if way == "warm" else ""
    async with running(url, *world, pve402_catalogue=catalogue_file, pve402_pool=pool) as made:
        tenant = made.tenant()
        row = (await made.lease(tenant, minutes=600)).lease
        if way == "rebooted":
            await made.leases.reboot(row)
        if way == "started again":
            made.pass_time(networks.SETTLED_SECONDS)  # or the start waits for it
            await made.leases.start(await made.leases.stop(row))
        if way == "renewed in grace":
            made.pass_time(600 * 60 + 1)
            row = await made.until_status(lease.LeaseStatus.STOPPED)
            await made.leases.renew(row, 10, made.renewal(tenant, row, 10, valid_seconds=600))
        options = made.proxmox.world.firewalls.read_guest(row.vmid).options

    assert "firewall=1" in cards(made)[0]
    assert options.get("enable") == 1
