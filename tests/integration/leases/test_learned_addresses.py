"""Addresses that others give: of Proxmox VE's SDN, of a DHCP server, of router advertisements.

A guest gets through with exactly the address that was learned, once, before it was anybody's.
"""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import AbstractAsyncContextManager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.leases import test_crashes as crashes
from tests.integration.leases.test_isolation import SETTLED, SHIPPED, card_of, read, walled
from tests.support.installation import Installation, World, creation, running

from pve402.domain import errors, lease, networks, quota
from pve402.leases import addresses, learned_addresses, sdn_ranges
from pve402.storage import address_rows, tables
from pve402_devnet.pve import sdn
from pve402_devnet.pve.simulator import SimulatedProxmox

__all__ = ["walled"]

Link = networks.Link
TENANTS = '[network.tenants]\ndefault = true\nisolation = "tenant"\n'
AROUND = "10.99.0.0/24"  # what the simulated router gives addresses of
SDN = '{ subnet = "10.88.0.0/24", gateway = "10.88.0.1", from = "sdn" }'
DHCP = f'{{ subnet = "{AROUND}", gateway = "10.99.0.1", from = "dhcp" }}'
AUTO = '{ subnet = "2001:db8:7::/64", from = "auto" }'
SET = "ipfilter-net0"


class Networks:
    """Installations of one world, whose only network is as a test says."""

    def __init__(self, made_in: World, folder: Path) -> None:
        self._world = made_in
        self._folder = folder

    def __call__(self, text: str, **changes: Any) -> AbstractAsyncContextManager[Installation]:
        file = self._folder / "catalogue.toml"
        file.write_text(f"{SHIPPED}\n{TENANTS}{text}\n")
        url = f"sqlite:///{self._folder}/db.sqlite3"
        return running(url, *self._world, pve402_catalogue=file, **changes)


@pytest.fixture
def on(walled: World, tmp_path: Path) -> Networks:
    """A vnet with two addresses, and a way to sell what is on a network."""
    vnet_of(walled[0])
    return Networks(walled, tmp_path)


def vnet_of(proxmox: SimulatedProxmox) -> None:
    """Make a vnet whose zone gives two addresses."""
    made = proxmox.world.networks
    made.written.zones["rent"] = {"type": "simple", "dhcp": "dnsmasq", "ipam": "pve"}
    made.written.networks["rent0"] = sdn.Network(zone="rent")
    ranges = [("10.88.0.50", "10.88.0.51")]
    subnet = sdn.Subnet(cidr="10.88.0.0/24", gateway="10.88.0.1", ranges=ranges)
    made.add_subnet("rent0", "rent-10.88.0.0-24", subnet)
    made.apply()


VNET = f'vnet = "rent0"\nzone = "rent"\nipv4 = {SDN}'
ON_VNET = f"{TENANTS}{VNET}\n"
BRIDGE = f'bridge = "vmbr0"\nipv4 = {DHCP}'


def let_through(made: Installation, row: lease.Lease) -> list[Any]:
    """What the guest may send from, besides what its card shows."""
    sets = made.proxmox.world.firewalls.read_guest(row.vmid).sets
    return [entry["cidr"] for entry in sets[SET].entries] if SET in sets else []


async def under_way(made: Installation, **changes: Any) -> lease.Lease:
    """A lease that was asked for, and is made while time passes."""
    wish = creation(**changes)
    await made.leases.create(wish, made.buy(made.tenant(), wish, wait_seconds=0.0))
    await made.settled_down()
    return (await made.leases_now())[-1]


async def later(made: Installation, row: lease.Lease, seconds: float = SETTLED) -> lease.Lease:
    made.pass_time(seconds)
    await made.settled_down()
    return await read(made, row)


async def test_the_sdn_gives_an_address_and_takes_it_back(on: Networks) -> None:
    async with on(VNET) as made:
        first, second = [(await made.lease()).lease for _ in range(2)]
        earned = made.earned
        with pytest.raises(errors.ProvisioningFailed, match="no address"):
            await made.lease()
        filtered = [let_through(made, row) for row in (first, second)]
        await made.leases.end(await read(made, first))
        await made.settled_down()
        again = (await made.lease()).lease

        assert [row.addresses for row in (first, second)] == [
            {"ipv4": "10.88.0.50"},
            {"ipv4": "10.88.0.51"},
        ]
        assert filtered == [["10.88.0.50"], ["10.88.0.51"]]
        assert first.link is Link.PENDING
        assert again.addresses == {"ipv4": "10.88.0.50"}
        assert made.earned - earned == made.price_of(creation())
        assert card_of(made, again)["ip"] == "dhcp"


async def test_an_address_is_read_from_the_guest_before_it_is_sold(on: Networks) -> None:
    async with on(BRIDGE) as made:
        row = await under_way(made)
        closed = card_of(made, row).get("link_down"), let_through(made, row), made.earned
        named = await later(made, row)
        waits = card_of(made, row).get("link_down"), named.status, named.link, made.earned
        listed = let_through(made, named)
        ready = await later(made, row)

        assert closed == ("1", [], 0)
        assert waits == (None, lease.LeaseStatus.STARTING, Link.PENDING, 0)
        assert ip_address(named.addresses["ipv4"]) in ip_network(AROUND)
        assert listed == [named.addresses["ipv4"]]
        assert (ready.status, ready.link) == (lease.LeaseStatus.ACTIVE, Link.READY)
        assert ready.addresses == named.addresses
        assert made.earned == made.price_of(creation())
        await later(made, row, 60.0)
        text = made.proxmox.world.guests[row.vmid].config.text("description")
        record = made.parts.machines.read_description(text)
        assert record is not None
        assert record.addresses == ready.addresses


async def test_a_guest_that_a_tenant_had_is_never_asked(on: Networks) -> None:
    async with on(BRIDGE) as made:
        row = await under_way(made)
        await later(made, row)
        ready = await later(made, row)
        asked = made.record_proxmox_calls()

        await made.leases.stop(ready)
        await made.leases.start(await read(made, row))
        await made.leases.reboot(await read(made, row))
        await made.proxmox.publish()
        await made.parts.lease_reconciler.run_once()
        await made.settled_down()

        assert [call for call in asked if "status/start" in call]
        assert [call for call in asked if call.endswith("/interfaces")] == []
        assert let_through(made, ready) == [ready.addresses["ipv4"]]


@pytest.mark.parametrize("trouble", ["outside", "taken"])
async def test_an_address_that_cannot_be_its_own_is_refused(on: Networks, trouble: str) -> None:
    text = BRIDGE if trouble != "outside" else BRIDGE.replace("10.99.0", "10.98.0")
    async with on(text) as made:
        row = await under_way(made)
        lease_of = made.proxmox.world.dhcp_address("pve", card_of(made, row)) or ""
        own = lease_of.partition("/")[0]
        if trouble == "taken":
            async with made.parts.db.begin() as tx:
                holding = {"version": 4, "network": "tenants", "lease_id": "other"}
                await address_rows.take(made.parts.db, tx, own, **holding)
        refused = await later(made, row)
        gone = await later(made, row, 200.0)

        (order,) = await made.orders_now()
        assert refused.status in {lease.LeaseStatus.UNWINDING, lease.LeaseStatus.FAILED}
        assert gone.status is lease.LeaseStatus.FAILED
        assert (order.refusal, made.earned) == ("no_address", 0)
        assert row.vmid not in made.proxmox.world.guests


async def test_an_address_is_made_of_prefix_and_hardware_address(on: Networks) -> None:
    async with on(f'bridge = "vmbr0"\nipv6 = {AUTO}') as made:
        row = (await made.lease()).lease
        card = card_of(made, row)

        expected = learned_addresses.eui64(ip_network("2001:db8:7::/64"), card["hwaddr"])
        assert row.addresses == {"ipv6": expected}
        assert let_through(made, row) == [expected]
        assert card["ip6"] == "auto"
        options = made.proxmox.world.firewalls.read_guest(row.vmid).options
        assert str(options["dhcp"]) == "0"


def test_the_address_is_that_of_the_rfc() -> None:
    """RFC 4291, appendix A: 34-56-78-9A-BC-DE gives 36-56-78-FF-FE-9A-BC-DE."""
    subnet = ip_network("2001:db8::/64")

    assert learned_addresses.eui64(subnet, "34:56:78:9A:BC:DE") == "2001:db8::3656:78ff:fe9a:bcde"


async def test_a_warm_guest_has_its_address_before_it_is_sold(on: Networks) -> None:
    async with on(BRIDGE, pve402_pool="standard-lxc:1:512:8=1") as made:
        for _ in range(20):
            made.parts.filler.wake()
            await made.settled_down()
            if any(row.pooled_at is not None for row in await made.leases_now()):
                break
            made.pass_time(SETTLED)
        (ready,) = await made.pool_of(1)
        asked = made.record_proxmox_calls()

        sold = (await made.lease()).lease

        assert (sold.lease_id, sold.link) == (ready.lease_id, Link.READY)
        assert sold.addresses == ready.addresses
        assert [call for call in asked if call.endswith(f"/{sold.vmid}/interfaces")] == []


@pytest.mark.parametrize("point", ["fence", "advance"])
@pytest.mark.parametrize("done", [False, True])
async def test_a_process_that_dies_loses_no_address(on: Networks, point: str, done: bool) -> None:
    async with on(BRIDGE) as first:
        wish = creation()
        reached = crashes.hang_at(first, ("guest_network", point), "after" if done else "before")
        await first.leases.create(wish, first.buy(first.tenant(), wish, wait_seconds=0.0))
        await asyncio.wait_for(reached.wait(), 20)
        await first.die()

    async with on(BRIDGE) as second:
        await crashes.come_round(second)
        (row,) = await second.leases_now()
        for _ in range(3):
            row = await later(second, row)

        async with second.parts.db.read() as tx:
            rows = (await tx.execute(sa.select(tables.addresses.c.address))).scalars().all()
        assert (row.status, row.link) == (lease.LeaseStatus.ACTIVE, Link.READY)
        assert list(rows) == [row.addresses["ipv4"]] == let_through(second, row)


async def test_a_guest_made_again_gives_back_what_others_gave(on: Networks) -> None:
    both = f'vnet = "rent0"\nzone = "rent"\nipv4 = {SDN}\nipv6 = {{ subnet = "fd00:7::/64", ranges'
    async with on(f'{both} = ["fd00:7::10-fd00:7::20"] }}') as made:
        row = (await made.lease()).lease
        network = made.leases.catalogue.networks["tenants"]
        async with made.parts.db.begin() as tx:
            kept = await addresses.give_back_learned(
                made.parts.db, tx, row, network, made.parts.lease_options
            )
            held = {one: await address_rows.is_held(tx, one) for one in row.addresses.values()}

        assert kept == {"ipv6": row.addresses["ipv6"]}
        assert held == {row.addresses["ipv4"]: False, row.addresses["ipv6"]: True}


async def test_a_used_up_range_of_the_sdn_is_no_capacity_before_any_payment(
    on: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sdn_ranges, "FRESH_SECONDS", 0.0)
    async with on(VNET) as made:
        given = made.proxmox.world.networks.addresses
        vnet = {"zone": "rent", "network": "rent0", "cidr": "10.88.0.0/24"}
        one, other = (sdn.Address(ip=f"10.88.0.{n}", vmid=n, **vnet) for n in (50, 51))

        seen = []
        for left in ([], [one], [one, other], [other]):
            given[:] = [*given[:1], *left]  # the first one is the gateway's
            seen.append(await has_room(made))

    assert seen == [True, True, False, True]


@pytest.mark.parametrize("text", [VNET, f'bridge = "vmbr0"\nipv6 = {AUTO}'])
async def test_an_address_that_is_still_to_be_learned_counts_for_a_quota(
    on: Networks, text: str
) -> None:
    limit = quota.Quota.parse("addresses=1")
    async with on(text, pve402_wallet_limits=limit) as made:
        key, wish = made.tenant(), creation()
        await made.leases.create(wish, made.buy(key, wish))

        with pytest.raises(errors.LimitReached, match="1 addresses to one wallet"):
            await made.leases.create(wish, made.buy(key, wish))

        assert made.earned == made.price_of(wish)


@pytest.mark.parametrize("text", [VNET, BRIDGE, f'bridge = "vmbr0"\nipv6 = {AUTO}'])
async def test_creations_under_way_count_the_addresses_that_they_will_be_given(
    on: Networks, text: str
) -> None:
    limit = quota.Quota.parse("addresses=1")
    async with on(text, pve402_wallet_limits=limit) as made:
        key, wish = made.tenant(), creation()
        asked = [made.buy(key, wish, wait_seconds=0.0) for _ in range(3)]

        answers = await asyncio.gather(
            *(made.leases.create(wish, one) for one in asked), return_exceptions=True
        )

        refused = [one for one in answers if isinstance(one, errors.LimitReached)]
        assert len(refused) == 2
        assert len(await made.leases_now()) == 1


async def has_room(made: Installation) -> bool:
    """Whether a lease would be sold, as Proxmox VE is now."""
    await made.parts.view.fresh(0.0)
    with contextlib.suppress(errors.NoCapacity):
        await made.leases.check_room(made.leases.catalogue.sku("standard-lxc"), creation().size)
        return True
    return False
