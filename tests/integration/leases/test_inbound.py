"""What reaches a guest of an isolated network: the tenant's choice, and our own address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.integration.leases.test_isolation import (
    NETWORK,
    SHIPPED,
    card_of,
    connected,
    read,
    walled,
)
from tests.support.installation import Installation, World, running, settings

from pve402 import bootstrap
from pve402.domain import errors, inbound, lease, networks
from pve402.leases import guest_url, moves
from pve402.ops import isolating, rebuild
from pve402.ops.checks import isolation
from pve402_devnet.pve.faults import FaultKind
from pve402_devnet.pve.options import NodeOptions

__all__ = ["walled"]

SSH = inbound.Opening(protocol="tcp", ports=("22",), source="203.0.113.0/24")
WEB = inbound.Opening(protocol="tcp", ports=("80", "443"))
OWN = "http://10.77.0.9:4023"
JOINED = "198.51.100.7"


def catalogue_file(tmp_path: Path, word: str = "chosen") -> Path:
    file = tmp_path / f"{word}.toml"
    file.write_text(SHIPPED + NETWORK + f'isolation = "tenant"\ninbound = "{word}"\n')
    return file


@pytest.fixture
async def fenced(tmp_path: Path, walled: World) -> AsyncIterator[Installation]:
    """An installation whose tenants choose what comes in."""
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *walled, pve402_catalogue=catalogue_file(tmp_path)) as made:
        yield made


def inward(made: Installation, row: lease.Lease) -> list[tuple[Any, Any]]:
    stored = made.proxmox.world.firewalls.read_guest(row.vmid)
    return [(one.get("dport"), one.get("source")) for one in stored.rules if one["type"] == "in"]


def outward(made: Installation, row: lease.Lease) -> list[tuple[Any, Any]]:
    stored = made.proxmox.world.firewalls.read_guest(row.vmid)
    return [(one["dest"], one["dport"]) for one in stored.rules if one.get("comment") == "uploads"]


async def ready(made: Installation) -> lease.Lease:
    row = (await made.lease()).lease
    await made.settled_down()
    return await connected(made, row)


async def choose(
    made: Installation, row: lease.Lease, openings: Sequence[inbound.Opening] | None
) -> lease.Lease:
    return await made.leases.inbound.let_in(row, openings)


async def test_a_tenant_opens_changes_and_closes(fenced: Installation) -> None:
    row = await ready(fenced)
    before = inward(fenced, row)

    opened = await choose(fenced, row, [SSH, WEB])
    first = inward(fenced, row)
    changed = await choose(fenced, opened, [WEB])
    second = inward(fenced, row)
    reset = await choose(fenced, changed, None)

    assert before == []
    assert first == [("22", "203.0.113.0/24"), ("80,443", None)]
    assert second == [("80,443", None)]
    assert (inward(fenced, row), reset.openings) == ([], None)
    assert opened.openings == (SSH, WEB)
    assert reset.due_at == reset.expires_at
    assert "link_down" not in card_of(fenced, row)


async def test_what_is_chosen_while_it_waits_stands_before_the_link(fenced: Installation) -> None:
    row = (await fenced.lease()).lease
    await fenced.settled_down()

    waiting = await choose(fenced, await read(fenced, row), [SSH])
    await connected(fenced, row)
    after = await connected(fenced, row)

    assert waiting.link is networks.Link.PENDING
    assert after.link is networks.Link.READY
    assert inward(fenced, row) == [("22", "203.0.113.0/24")]


@pytest.mark.parametrize("word", ["closed", "none"])
async def test_what_the_operator_decides_alone_stays(
    tmp_path: Path, walled: World, word: str
) -> None:
    file = catalogue_file(tmp_path, "closed") if word == "closed" else tmp_path / "open.toml"
    if word == "none":
        file.write_text(SHIPPED + NETWORK)
    async with running(f"sqlite:///{tmp_path}/db", *walled, pve402_catalogue=file) as made:
        row = (await made.lease()).lease
        await made.settled_down()

        with pytest.raises(errors.InboundFixed):
            await choose(made, row, [SSH])

        assert inward(made, row) == []


async def test_a_suspended_lease_chooses_nothing(fenced: Installation) -> None:
    row = await ready(fenced)
    ended = row.evolve(status=lease.LeaseStatus.STOPPED)

    with pytest.raises(errors.LeaseNotReady):
        await choose(fenced, ended, [SSH])


async def test_a_choice_survives_trouble_at_proxmox(fenced: Installation) -> None:
    row = await ready(fenced)
    fenced.fail_call("POST .*/firewall/rules$", FaultKind.ERROR)

    await choose(fenced, row, [SSH])
    await fenced.settled_down()

    assert inward(fenced, row) == [("22", "203.0.113.0/24")]


async def test_a_choice_that_is_not_written_yet_is_known_to_be_none(fenced: Installation) -> None:
    row = await ready(fenced)
    db = fenced.parts.db

    async with db.begin() as tx:
        chosen = await moves.want_inbound(db, tx, row, [SSH])
    await fenced.parts.lease_reconciler.run_once()
    await fenced.until(lambda found: found.rules_key is not None)

    assert (row.rules_key is None, chosen.rules_key) == (False, None)
    assert inward(fenced, row) == [("22", "203.0.113.0/24")]


async def test_a_choice_survives_a_lost_database(tmp_path: Path, walled: World) -> None:
    file = catalogue_file(tmp_path)
    async with running(f"sqlite:///{tmp_path}/old", *walled, pve402_catalogue=file) as old:
        row = await ready(old)
        await choose(old, row, [SSH])
        await old.proxmox.publish()
    anew = f"sqlite:///{tmp_path}/new"
    parts = bootstrap.build(settings(anew, *walled, pve402_catalogue=file))
    await rebuild.Rebuild(apply=True).run(parts, Console(quiet=True))
    await parts.close()

    async with running(anew, *walled, pve402_catalogue=file) as new:
        (found,) = await new.leases_now()
        await new.proxmox.publish()
        await new.parts.lease_reconciler.run_once()
        await new.settled_down()
        kept = await choose(new, (await new.leases_now())[0], [SSH, WEB])

        assert found.openings == (SSH,)
        assert inward(new, row) == [("22", "203.0.113.0/24"), ("80,443", None)]
        assert kept.openings == (SSH, WEB)


async def test_our_address_is_open_and_follows_its_name(tmp_path: Path, walled: World) -> None:
    changes: dict[str, Any] = {
        "pve402_catalogue": catalogue_file(tmp_path),
        "pve402_guest_url": OWN,
        "pve402_guest_bind": "127.0.0.1:0",
    }
    url = f"sqlite:///{tmp_path}/db.sqlite3"
    async with running(url, *walled, **changes) as made:
        row = await ready(made)
        first = outward(made, row)
        quiet = await reconciled(made, row)

    changes["pve402_guest_url"] = "http://10.77.0.10:4023"
    async with running(url, *walled, **changes) as moved:
        second = await reconciled(moved, row)

    assert first == quiet == [("10.77.0.9/32", "4023")]
    assert second == [("10.77.0.10/32", "4023")]


async def test_rules_stay_while_our_name_was_never_resolved(tmp_path: Path, walled: World) -> None:
    async def resolve(_host: str, _port: int) -> Sequence[str]:
        raise OSError

    changes: dict[str, Any] = {
        "pve402_catalogue": catalogue_file(tmp_path),
        "pve402_guest_url": OWN,
        "pve402_guest_bind": "127.0.0.1:0",
    }
    async with running(f"sqlite:///{tmp_path}/db.sqlite3", *walled, **changes) as made:
        row = await ready(made)
        made.parts.guest_network.own_url = guest_url.GuestUrl("http://up.example", resolve)

        kept = await reconciled(made, row)
        await choose(made, await read(made, row), [SSH])

        assert kept == [("10.77.0.9/32", "4023")]
        assert inward(made, row) == [("22", "203.0.113.0/24")]


async def test_the_address_of_a_node_that_joins_is_closed_to_running_guests(
    fenced: Installation,
) -> None:
    row = await ready(fenced)
    world, seen = fenced.proxmox.world, []

    async def is_closed() -> bool:
        await fenced.parts.view.fresh(0.0)
        await fenced.parts.firewalls.look()
        await reconciled(fenced, row)
        rules = world.firewalls.read_guest(row.vmid).rules
        return JOINED in ",".join(str(one["dest"]) for one in rules if "dest" in one)

    seen.append(await is_closed())
    world.nodes["joined"] = NodeOptions(name="joined", address=JOINED)
    world.offline.add("joined")
    seen.append(await is_closed())  # nobody sees all its addresses yet
    told = {one.what: one.mend for one in await isolation.networks(fenced.parts)}
    world.offline.remove("joined")
    seen.append(await is_closed())
    noted = await read(fenced, row)
    asked = fenced.record_proxmox_calls()
    seen.append(await is_closed())

    assert seen == [False, False, True, True]
    assert "`pve402 ops isolate LEASE`" in told["node joined"]
    assert noted.rules_key != row.rules_key
    assert [call for call in asked if f"/lxc/{row.vmid}/firewall" in call] == []


async def reconciled(made: Installation, row: lease.Lease) -> list[tuple[Any, Any]]:
    await made.proxmox.publish()
    await made.parts.lease_reconciler.run_once()
    await made.settled_down()
    return outward(made, row)


async def test_a_url_without_its_own_listener_is_not_open(tmp_path: Path, walled: World) -> None:
    changes = {"pve402_catalogue": catalogue_file(tmp_path), "pve402_guest_url": OWN}
    async with running(f"sqlite:///{tmp_path}/db", *walled, **changes) as made:
        row = (await made.lease()).lease

        assert outward(made, row) == []


async def test_a_guest_from_before_chooses_once_it_is_isolated(
    tmp_path: Path, walled: World
) -> None:
    url, open_book = f"sqlite:///{tmp_path}/db.sqlite3", tmp_path / "open.toml"
    open_book.write_text(SHIPPED + NETWORK)
    async with running(url, *walled, pve402_catalogue=open_book) as before:
        row = (await before.lease()).lease
        await before.settled_down()

    async with running(url, *walled, pve402_catalogue=catalogue_file(tmp_path)) as now:
        with pytest.raises(errors.InboundFixed):
            await choose(now, row, [SSH])
        untouched = now.proxmox.world.firewalls.read_guest(row.vmid).rules
        await isolating.isolate(now.parts, Console(quiet=True), name=row.lease_id)
        await choose(now, await read(now, row), [SSH])

        assert untouched == []
        assert inward(now, row) == [("22", "203.0.113.0/24")]
