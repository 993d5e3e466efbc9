"""Addresses of pools: one lease each, kept through grace and rebuilds, rested, never shared."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from rich.console import Console
from tests.support.installation import Installation, World, creation, running, settings

from pve402 import bootstrap
from pve402.domain import errors, lease, meter
from pve402.ops import rebuild
from pve402.storage import address_rows, database, tables
from pve402_devnet.pve.faults import FaultKind

Status = lease.LeaseStatus
NETWORK = """
[network.lan]
default = true
bridge = "vmbr0"
nameservers = ["10.7.0.1"]
ipv4 = { subnet = "10.7.0.0/24", ranges = ["10.7.0.10-10.7.0.12"], gateway = "10.7.0.1" }
ipv6 = { subnet = "fd00:7::/64", ranges = ["fd00:7::10-fd00:7::1f"], gateway = "fd00:7::1" }
"""
REST_SECONDS = 600.0


@pytest.fixture
def catalogue_file(tmp_path: Path) -> Path:
    """The shipped catalogue with a network of three addresses."""
    shipped = Path(bootstrap.__file__).parent.parent / "domain" / "default_catalogue.toml"
    file = tmp_path / "catalogue.toml"
    file.write_text(shipped.read_text() + NETWORK)
    return file


@pytest.fixture
async def pooled(
    database_url: str, world: World, catalogue_file: Path
) -> AsyncIterator[Installation]:
    """An installation whose network has three addresses."""
    async with running(database_url, *world, pve402_catalogue=catalogue_file) as made:
        yield made


def rename_network(catalogue_file: Path) -> None:
    """Give the network another name, and leave all else as it is."""
    catalogue_file.write_text(catalogue_file.read_text().replace("network.lan", "network.tenants"))


async def holdings(db: database.Database, address: str) -> list[address_rows.Holding]:
    async with db.read() as tx:
        return await address_rows.list_holdings(tx, address)


def card_of(made: Installation, row: lease.Lease) -> dict[str, str]:
    """The properties of a guest's card."""
    text = made.proxmox.world.guests[row.vmid].config.text("net0")
    return dict(part.split("=", 1) for part in text.split(","))


async def live(db: database.Database) -> list[str]:
    """The addresses that leases hold now."""
    rows = tables.addresses.c
    async with db.read() as tx:
        found = await tx.execute(sa.select(rows.address).where(rows.released_at.is_(None)))
        return sorted(found.scalars())


async def test_each_lease_has_addresses_of_its_own_on_its_card(pooled: Installation) -> None:
    leases = [(await pooled.lease()).lease for _ in range(2)]

    cards = [card_of(pooled, row) for row in leases]
    assert [dict(row.addresses) for row in leases] == [
        {"ipv4": "10.7.0.10", "ipv6": "fd00:7::10"},
        {"ipv4": "10.7.0.11", "ipv6": "fd00:7::11"},
    ]
    assert cards[0].items() >= {"ip": "10.7.0.10/24", "gw": "10.7.0.1"}.items()
    assert cards[0].items() >= {"ip6": "fd00:7::10/64", "gw6": "fd00:7::1"}.items()
    assert cards[1]["ip"] == "10.7.0.11/24"


async def test_addresses_are_paid_for_and_burn_if_they_have_a_rate(
    database_url: str, world: World, catalogue_file: Path
) -> None:
    """By the same function for new leases, renewals and what is burnt."""
    plain = await asyncio.to_thread(catalogue_file.read_text)
    rated = plain.replace("\nbase_usd", '\naddress_usd_minute = "0.00001"\nbase_usd')
    await asyncio.to_thread(catalogue_file.write_text, rated)
    async with running(database_url, *world, pve402_catalogue=catalogue_file) as shop:
        row = (await shop.lease(minutes=60)).lease

        begun = await shop.leases.find(row.lease_id)
        minute = Fraction("0.00033") + 2 * Fraction("0.00001")
        assert meter.minute_usd(begun.burn or 0) == minute
        assert shop.leases.prices.of_renewal(begun, 30) == [30 * minute]
        assert shop.earned == math.ceil((Fraction("0.002") + 60 * minute) * 10**6)
        assert begun.expires_at == (begun.metered_at or begun.created_at) + timedelta(hours=1)


async def test_an_empty_pool_is_said_before_any_payment(pooled: Installation) -> None:
    for _ in range(3):
        await pooled.lease()
    sku = pooled.leases.catalogue.sku("standard-lxc")
    earned, wish = pooled.earned, creation()

    with pytest.raises(errors.NoCapacity):
        await pooled.leases.check_room(sku, wish.size)
    with pytest.raises(errors.NoCapacity, match="address"):
        await pooled.leases.create(wish, pooled.buy(pooled.tenant(), wish))

    assert pooled.earned == earned


async def test_a_fixed_address_of_the_variables_is_sold_once(
    database_url: str, world: World
) -> None:
    fixed = {"pve_ip": "10.9.0.5/24", "pve_gateway": "10.9.0.1"}
    async with running(database_url, *world, **fixed) as made:
        first = (await made.lease()).lease

        with pytest.raises(errors.NoCapacity):
            await made.lease()

        assert first.addresses == {"ipv4": "10.9.0.5"}
        card = card_of(made, first)
        assert (card["ip"], card["gw"]) == ("10.9.0.5/24", "10.9.0.1")


async def test_a_fixed_address_that_an_older_lease_has_is_not_sold(
    database_url: str, world: World
) -> None:
    async with running(database_url, *world) as before:
        old = (await before.lease()).lease

    async with running(database_url, *world, pve_ip="10.9.0.5/24") as now:
        with pytest.raises(errors.NoCapacity):
            await now.lease()
        await now.leases.end(old)
        await now.settled_down()
        assert (await now.lease()).lease.addresses == {"ipv4": "10.9.0.5"}


async def test_an_address_is_held_through_grace_then_rests(pooled: Installation) -> None:
    row = (await pooled.lease(minutes=60)).lease
    db = pooled.parts.db
    db.shift_seconds = 3601.0
    await pooled.settled_down()
    in_grace = await live(db)
    db.shift_seconds = 3 * 86400.0
    await pooled.settled_down()
    later = [(await pooled.lease()).lease for _ in range(2)]
    with pytest.raises(errors.NoCapacity):
        await pooled.lease()
    db.shift_seconds += REST_SECONDS + 1
    again = (await pooled.lease()).lease

    assert in_grace == ["10.7.0.10", "fd00:7::10"]
    assert [one.addresses["ipv4"] for one in later] == ["10.7.0.11", "10.7.0.12"]
    assert again.addresses["ipv4"] == "10.7.0.10"
    newest, oldest = await holdings(db, "10.7.0.10")
    assert (newest.lease_id, newest.released_at) == (again.lease_id, None)
    assert (oldest.lease_id, oldest.owner) == (row.lease_id, row.owner)
    assert oldest.transaction
    assert oldest.released_at is not None
    assert oldest.released_at - oldest.taken_at > timedelta(hours=1)


async def test_a_pool_that_moved_to_another_profile_hands_no_held_address_out(
    database_url: str, world: World, catalogue_file: Path
) -> None:
    async with running(database_url, *world, pve402_catalogue=catalogue_file) as before:
        held, ended = [(await before.lease()).lease for _ in range(2)]
        await before.leases.end(ended)
        await before.settled_down()
    rename_network(catalogue_file)

    async with running(database_url, *world, pve402_catalogue=catalogue_file) as now:
        sold = (await now.lease()).lease
        with pytest.raises(errors.NoCapacity):
            await now.lease()

    assert held.addresses["ipv4"] == "10.7.0.10"
    assert sold.addresses == {"ipv4": "10.7.0.12", "ipv6": "fd00:7::12"}


async def test_who_had_an_address_then(pooled: Installation) -> None:
    row = (await pooled.lease()).lease
    db = pooled.parts.db
    now = await db.time()

    async with db.read() as tx:
        then = await address_rows.list_holdings(tx, "10.7.0.10", now)
        before = await address_rows.list_holdings(tx, "10.7.0.10", now - timedelta(hours=1))

    assert [one.lease_id for one in then] == [row.lease_id]
    assert before == []


async def test_a_refused_creation_gives_its_addresses_back(pooled: Installation) -> None:
    pooled.fail_call("POST .*/lxc$", FaultKind.ERROR, times=50)

    with pytest.raises(errors.Pve402Error):
        await pooled.lease()
    held = await live(pooled.parts.db)
    pooled.parts.db.shift_seconds = 100.0  # until then the guest may still appear
    await pooled.settled_down()

    assert held == ["10.7.0.10", "fd00:7::10"]
    assert await live(pooled.parts.db) == []
    assert pooled.earned == 0


async def test_warm_guests_hold_theirs_and_hand_them_over(
    database_url: str, world: World, catalogue_file: Path
) -> None:
    changes: dict[str, Any] = {
        "pve402_catalogue": catalogue_file,
        "pve402_pool": "standard-lxc:1:512:8=1",
    }
    async with running(database_url, *world, **changes) as made:
        (ready,) = await made.pool_of(1)

        sold = (await made.lease()).lease

    assert ready.addresses == {"ipv4": "10.7.0.10", "ipv6": "fd00:7::10"}
    assert (sold.lease_id, sold.addresses) == (ready.lease_id, ready.addresses)


@pytest.mark.postgres
async def test_replicas_never_hand_out_an_address_twice(
    migrated_url: str, world: World, catalogue_file: Path
) -> None:
    url = migrated_url.replace("postgresql+asyncpg://", "postgresql://")
    async with (
        running(url, *world, pve402_catalogue=catalogue_file) as one,
        running(url, *world, pve402_catalogue=catalogue_file) as two,
        running(url, *world, pve402_catalogue=catalogue_file) as three,
    ):
        asked = [made.lease() for made in (one, two, three) for _ in range(2)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        held = await live(one.parts.db)

    refused = [one for one in answers if isinstance(one, BaseException)]
    assert all(isinstance(one, errors.NoCapacity) for one in refused), refused
    assert len(refused) == 3
    assert len(held) == len(set(held)) == 6


async def test_a_rebuild_restores_the_addresses(
    world: World, catalogue_file: Path, tmp_path: Path
) -> None:
    changes: dict[str, Any] = {"pve402_catalogue": catalogue_file}
    async with running(f"sqlite:///{tmp_path}/old", *world, **changes) as old:
        await old.lease()
        row = (await old.lease()).lease
        await old.leases.end((await old.leases_now())[0])
        await old.settled_down()
        await old.proxmox.publish()
    anew = f"sqlite:///{tmp_path}/new"
    parts = bootstrap.build(settings(anew, *world, **changes))
    await rebuild.Rebuild(apply=True).run(parts, Console(quiet=True))
    await parts.close()

    async with running(anew, *world, **changes) as new:
        (back,) = await new.leases_now()
        held = await live(new.parts.db)
        others = [(await new.lease()).lease.addresses["ipv4"] for _ in range(2)]

    assert back.lease_id == row.lease_id
    assert (back.network, back.addresses) == ("lan", row.addresses)
    assert held == sorted(row.addresses.values())
    assert sorted([*others, row.addresses["ipv4"]]) == ["10.7.0.10", "10.7.0.11", "10.7.0.12"]
