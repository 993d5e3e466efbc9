"""Guests of an isolated network: rules first, then 11 seconds, then the link, in every case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.integration.leases import test_crashes as crashes
from tests.support.installation import Installation, World, creation, running, settings

from pve402 import bootstrap
from pve402.domain import errors, lease, networks
from pve402.leases import guest_networks
from pve402.ops import isolating, rebuild
from pve402.proxmox import errors as pve
from pve402_devnet.pve.faults import FaultKind

Link = networks.Link
SHIPPED = Path("src/pve402/domain/default_catalogue.toml").read_text()
POOL = '{ subnet = "10.7.0.0/24", gateway = "10.7.0.1", ranges = ["10.7.0.10-10.7.0.99"] }'
NETWORK = f"""
[network.tenants]
default = true
bridge = "vmbr0"
nameservers = ["9.9.9.9"]
ipv4 = {POOL}
"""
SETTLED = guest_networks.SETTLED_SECONDS + 1


@pytest.fixture
def catalogue_file(tmp_path: Path) -> Path:
    """A catalogue whose network is isolated."""
    file = tmp_path / "catalogue.toml"
    file.write_text(SHIPPED + NETWORK + 'isolation = "tenant"\n')
    return file


@pytest.fixture
def walled(world: World) -> World:
    """The simulators, with the datacenter's firewall on."""
    world[0].world.firewalls.cluster.options["enable"] = 1
    return world


@pytest.fixture
async def fenced(
    tmp_path: Path, walled: World, catalogue_file: Path
) -> AsyncIterator[Installation]:
    """An installation with an isolated network."""
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *walled, pve402_catalogue=catalogue_file) as made:
        yield made


def card_of(made: Installation, row: lease.Lease) -> dict[str, str]:
    text = made.proxmox.world.guests[row.vmid].config.text("net0")
    return dict(part.split("=", 1) for part in text.split(","))


async def connected(made: Installation, row: lease.Lease) -> lease.Lease:
    """The lease once its rules have been in place long enough."""
    made.parts.db.shift_seconds += SETTLED
    await made.settled_down()
    return await read(made, row)


async def read(made: Installation, row: lease.Lease) -> lease.Lease:
    return next(one for one in await made.leases_now() if one.lease_id == row.lease_id)


async def test_the_card_waits_until_its_rules_have_stood(fenced: Installation) -> None:
    row = (await fenced.lease()).lease
    await fenced.settled_down()
    before, waiting = card_of(fenced, row), await read(fenced, row)
    rules = list(fenced.proxmox.world.firewalls.read_guest(row.vmid).rules)

    after = await connected(fenced, row)

    assert (before["link_down"], waiting.link) == ("1", Link.PENDING)
    assert fenced.runs(row.vmid)
    assert after.link is Link.READY
    assert card_of(fenced, row) == {k: v for k, v in before.items() if k != "link_down"}
    assert fenced.proxmox.world.firewalls.read_guest(row.vmid).rules == rules
    assert after.due_at == after.expires_at


async def test_the_rules_are_those_of_a_tenant(fenced: Installation) -> None:
    row = (await fenced.lease()).lease

    stored = fenced.proxmox.world.firewalls.read_guest(row.vmid)
    options = {name: str(value) for name, value in stored.options.items()}
    assert options.items() >= {"enable": "1", "ipfilter": "1", "macfilter": "1"}.items()
    assert options.items() >= {"dhcp": "0", "radv": "0", "policy_in": "DROP"}.items()
    spoken = [(rule["action"], rule.get("dport") or rule.get("macro")) for rule in stored.rules]
    assert spoken[0] == ("DROP", "25,465,587")
    assert ("ACCEPT", "DNS") in spoken
    nodes = {*(await fenced.parts.firewalls._firewalls.cluster_addresses()).values()}
    dropped = ",".join(
        str(rule["dest"]) for rule in stored.rules if rule["action"] == "DROP" and "dest" in rule
    )
    assert {"10.0.0.0/8", "10.7.0.0/24", "10.7.0.1", *nodes} <= set(dropped.split(","))


async def test_rules_are_there_before_the_guest_is(
    fenced: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead: list[Any] = []

    async def create(ref: Any, spec: Any) -> Any:
        del spec
        ahead.extend(fenced.proxmox.world.firewalls.read_guest(ref.vmid).rules)
        raise pve.ProxmoxFault("simulated failure")

    monkeypatch.setattr(fenced.parts.guests, "create", create)
    with pytest.raises(errors.ProvisioningFailed):
        await fenced.lease()

    (row,) = await fenced.leases_now()
    fenced.parts.db.shift_seconds = 100.0
    await fenced.settled_down()

    assert ahead
    assert fenced.proxmox.world.firewalls.read_guest(row.vmid).rules == []


async def test_nothing_is_sold_while_the_firewall_is_off(fenced: Installation) -> None:
    tenant = fenced.tenant()
    row = (await fenced.lease(tenant)).lease
    earned, wish = fenced.earned, creation()
    fenced.proxmox.world.firewalls.cluster.options["enable"] = 0
    await fenced.parts.firewalls.look()

    with pytest.raises(errors.IsolationUnavailable):
        await fenced.leases.check_room(fenced.leases.catalogue.sku(wish.sku), wish.size)
    with pytest.raises(errors.IsolationUnavailable):
        await fenced.leases.create(wish, fenced.buy(tenant, wish))
    sold = fenced.earned
    await fenced.leases.renew(row, 60, fenced.renewal(tenant, row, 60))
    still = await connected(fenced, row)

    assert sold == earned
    assert fenced.earned > earned
    assert fenced.leases.isolation() == {"tenants": "unavailable"}
    assert still.link is Link.PENDING


async def test_what_cannot_be_read_counts_as_off(fenced: Installation) -> None:
    fenced.fail_call("GET /cluster/firewall/options", FaultKind.ERROR)

    await fenced.parts.firewalls.look()

    with pytest.raises(errors.IsolationUnavailable):
        await fenced.lease()


async def test_a_node_with_the_other_filter_is_refused(fenced: Installation) -> None:
    fenced.proxmox.world.firewalls.node("pve").options["nftables"] = 1
    await fenced.parts.firewalls.look()

    with pytest.raises(errors.IsolationUnavailable):
        await fenced.lease()
    with pytest.raises(pve.BridgeMissing):
        fenced.parts.firewalls.check_node("pve")


async def test_a_warm_guest_is_connected_before_it_is_sold(
    tmp_path: Path, walled: World, catalogue_file: Path
) -> None:
    changes: dict[str, Any] = {
        "pve402_catalogue": catalogue_file,
        "pve402_pool": "standard-lxc:1:512:8=1",
    }
    async with running(f"sqlite:///{tmp_path}/db", *walled, **changes) as made:
        await made.until(lambda row: row.rules_at is not None)
        made.pass_time(SETTLED)
        (ready,) = await made.pool_of(1)

        sold = (await made.lease()).lease

        assert "link_down" not in card_of(made, ready)
        assert (sold.lease_id, sold.link) == (ready.lease_id, Link.READY)


async def test_the_pool_is_filled_while_its_guests_wait_for_their_rules(
    tmp_path: Path, walled: World, catalogue_file: Path
) -> None:
    changes: dict[str, Any] = {
        "pve402_catalogue": catalogue_file,
        "pve402_pool": "standard-lxc:1:512:8=4",
        "pve402_node_creates": 3,  # one of them is the pool's
    }
    async with running(f"sqlite:///{tmp_path}/db", *walled, **changes) as made:
        waiting: set[str] = set()

        def all_wait(row: lease.Lease) -> bool:
            if row.rules_at is not None:
                waiting.add(row.lease_id)
            return len(waiting) == 4

        await made.until(all_wait)

        assert {row.link for row in await made.leases_now()} == {Link.PENDING}


async def test_a_renewal_while_it_waits_does_not_lose_the_link(fenced: Installation) -> None:
    tenant = fenced.tenant()
    row = (await fenced.lease(tenant)).lease
    await fenced.leases.renew(row, 60, fenced.renewal(tenant, row, 60))
    await fenced.proxmox.publish()

    await fenced.parts.lease_reconciler.run_once()

    assert (await connected(fenced, row)).link is Link.READY


async def test_rules_that_somebody_changed_are_written_again_before_the_link(
    fenced: Installation,
) -> None:
    row = (await fenced.lease()).lease
    await fenced.settled_down()
    stored = fenced.proxmox.world.firewalls.guest(row.vmid)
    stored.options["enable"] = 0

    waiting = await connected(fenced, row)
    down = card_of(fenced, row).get("link_down")
    ready = await connected(fenced, row)

    assert (waiting.link, down) == (Link.PENDING, "1")
    assert stored.options["enable"] == 1
    assert ready.link is Link.READY


@pytest.mark.parametrize("point", ["prepare", "isolate", "advance"])
@pytest.mark.parametrize("done", [False, True])
async def test_a_process_that_dies_leaves_no_guest_open_or_down(
    tmp_path: Path, walled: World, catalogue_file: Path, point: str, done: bool
) -> None:
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *walled, pve402_catalogue=catalogue_file) as first:
        purchase = first.buy(first.tenant(), wish := creation(), wait_seconds=0.0)
        reached = crashes.hang_at(first, ("guest_network", point), "after" if done else "before")
        await first.leases.create(wish, purchase)
        await asyncio.wait_for(reached.wait(), 20)
        await first.die()

    async with running(url, *walled, pve402_catalogue=catalogue_file) as second:
        await crashes.come_round(second)
        (row,) = await second.leases_now()
        ready = await connected(second, row)
        await second.parts.lease_reconciler.run_once()

        assert ready.status is lease.LeaseStatus.ACTIVE
        assert ready.link is Link.READY
        assert "link_down" not in card_of(second, row)
        assert second.proxmox.world.firewalls.read_guest(row.vmid).options["enable"] == 1


async def test_a_rebuild_sees_that_a_card_still_waits(
    tmp_path: Path, walled: World, catalogue_file: Path
) -> None:
    async with running(
        f"sqlite:///{tmp_path}/old", *walled, pve402_catalogue=catalogue_file
    ) as old:
        await old.lease()
        await old.proxmox.publish()
    anew = f"sqlite:///{tmp_path}/new"
    parts = bootstrap.build(settings(anew, *walled, pve402_catalogue=catalogue_file))
    await rebuild.Rebuild(apply=True).run(parts, Console(quiet=True))
    await parts.close()

    async with running(anew, *walled, pve402_catalogue=catalogue_file) as new:
        (row,) = await new.leases_now()
        await new.proxmox.publish()
        await new.parts.lease_reconciler.run_once()
        await new.settled_down()
        ready = await connected(new, row)

    assert row.link is Link.PENDING
    assert ready.link is Link.READY


async def test_a_guest_from_before_is_isolated_on_demand(
    tmp_path: Path, walled: World, catalogue_file: Path
) -> None:
    url, open_catalogue = f"sqlite:///{tmp_path}/db.sqlite3", tmp_path / "open.toml"
    open_catalogue.write_text(SHIPPED + NETWORK)
    async with running(url, *walled, pve402_catalogue=open_catalogue) as before:
        row = (await before.lease()).lease
        refused = await isolating.isolate(before.parts, Console(quiet=True), name=row.lease_id)
        unfenced = dict(before.proxmox.world.firewalls.read_guest(row.vmid).options)
        said = before.leases.isolation()

    async with running(url, *walled, pve402_catalogue=catalogue_file) as now:
        code = await isolating.isolate(now.parts, Console(quiet=True), name=row.lease_id)
        missing = await isolating.isolate(now.parts, Console(quiet=True), name="10999")
        fenced = now.proxmox.world.firewalls.read_guest(row.vmid).options

    assert (refused, code, missing) == (1, 0, 1)
    assert (unfenced, said) == ({}, {"tenants": "none"})
    assert fenced["enable"] == 1
