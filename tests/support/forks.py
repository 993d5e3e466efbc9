"""An installation that sells copies of containers, and how a tenant leases them."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.support import images as image_support
from tests.support.installation import Installation, World, running

from pve402.domain import lease, mark, networks, order, price, request
from pve402.leases import machine, outcome, workflow
from pve402.storage import tables

SIZE = lease.Size(cores=1, memory_mb=512, disk_gb=4)
SETTINGS: dict[str, Any] = {"pve402_forks": 4, "pve402_snapshots": 2}


@pytest.fixture
async def shop(tmp_path: Path, image_world: World) -> AsyncIterator[Installation]:
    """A running installation whose storage takes snapshots and links clones of them."""
    async with running(f"sqlite:///{tmp_path}/db.sqlite3", *image_world, **SETTINGS) as made:
        yield made


@pytest.fixture
async def either_shop(database_url: str, image_world: World) -> AsyncIterator[Installation]:
    """The same on either kind of database."""
    async with running(database_url, *image_world, **SETTINGS) as made:
        yield made


async def source_of(shop: Installation, **changes: Any) -> lease.Lease:
    """The lease of a running guest."""
    answer = await shop.lease(size=SIZE, hostname="source", **changes)
    return await shop.leases.find(answer.lease.lease_id)


def wish(source: lease.Lease, count: int = 1, **changes: Any) -> request.CreationRequest:
    """A request for copies."""
    asked: dict[str, Any] = {"hostname": "copy", "minutes": 60, **changes}
    return request.CreationRequest(
        sku=source.sku,
        size=source.size,
        fork_of=source.lease_id,
        others=count - 1,
        **asked,
    )


def price_of(shop: Installation, asked: request.CreationRequest) -> int:
    """The price of copies in atomic units."""
    return price.atomic_units(shop.leases.prices.of_creation(asked)[0], 6)


async def fork(
    shop: Installation,
    source: lease.Lease,
    count: int = 1,
    *,
    key: LocalAccount | None = None,
    purchase: dict[str, Any] | None = None,
    **changes: Any,
) -> outcome.Answer:
    """Lease copies to their end."""
    asked = wish(source, count, **changes)
    payer = key or shop.tenant()
    bought = shop.purchase(payer, price_of(shop, asked), **(purchase or {}))
    return await shop.parts.forks.create(source, asked, bought)


async def check_all(shop: Installation, started: list[tuple[int, dict[str, Any]]]) -> None:
    """Everything that was started was its own lease's, and all on Proxmox has its row."""
    image_support.check_starts(await shop.leases_now(), started)
    assert await image_support.unaccounted(shop) == []


async def die_in(shop: Installation, name: str, number: int, when: str, then: Any) -> bool:
    """Let things go on until the n-th write of this name about an order, and die there."""
    deals = shop.parts.lease_worker._workflows.creation._deals
    honest, reached, seen = getattr(deals, name), asyncio.Event(), 0

    async def counting(*given: Any, **named: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen != number:
            return await honest(*given, **named)
        if when == "after":
            await honest(*given, **named)
        reached.set()
        return await asyncio.Future()

    setattr(deals, name, counting)
    return await image_support.die_once(shop, reached, then)


async def nothing_held(shop: Installation) -> bool:
    """Whether no lease is held for copies, and no temporary snapshot is left anywhere."""
    for _ in range(3):
        await shop.parts.lease_reconciler.run_once()
        await shop.settled_down()
    guests = shop.proxmox.world.guests.values()
    rows = [*await shop.rows(tables.forks), *await shop.rows(tables.snapshots)]
    left = [row for row in rows if row.get("name", "~fork") == "~fork"]
    return not left and not any(guest.config.snapshots for guest in guests)


def is_connected(shop: Installation, row: lease.Lease) -> bool:
    """Whether the card of a lease's guest may carry packets, and its row says so."""
    is_down = "link_down=1" in image_support.options_of(shop, row.vmid)["net0"].split(",")
    assert is_down is (row.link is networks.Link.PENDING)
    return not is_down


def marked(shop: Installation, row: lease.Lease) -> bool:
    """Whether a lease's guest has its mark, and no other's."""
    options = image_support.options_of(shop, row.vmid)
    record = shop.parts.machines.read_description(options["description"])
    named = mark.leases_named(str(options["tags"]).split(";"))
    return record is not None and {record.lease_id, *named} == {row.lease_id}


async def copies_of(
    shop: Installation, source: lease.Lease
) -> list[tuple[order.Order, lease.Lease]]:
    """The orders of copies and their leases, the payment's own first."""
    rows = {row.lease_id: row for row in await shop.leases_now()}
    made = [(one, rows[one.lease_id or ""]) for one in await shop.orders_now()]
    made = [(one, row) for one, row in made if row.forked_from == source.lease_id]
    return sorted(made, key=lambda pair: pair[0].part_of or "")


async def until_paid(shop: Installation, source: lease.Lease) -> None:
    """Wait until all copies are paid for."""
    for _ in range(400):
        made = await copies_of(shop, source)
        if made and all(one.is_paid for one, _ in made):
            return
        await asyncio.sleep(0.05)
    raise TimeoutError([one.last_error for one, _ in made])


def lose_once_paid(shop: Installation, hostname: str) -> list[int]:
    """Have the guest of a copy vanish before it is handed over; return the list for its vmid."""
    honest, gone = shop.rekey.rekey, list[int]()

    async def rekey(row: lease.Lease, secrets: machine.Secrets) -> None:
        if not gone and row.hostname == hostname:
            gone.append(row.vmid)
            shop.proxmox.world.guests.pop(row.vmid).pid = None
        if row.vmid in gone:
            raise workflow.RetryLater("no shell")
        await honest(row, secrets)

    shop.rekey.rekey = rekey  # type: ignore[method-assign]
    return gone


async def pass_a_day_of_trying(shop: Installation, source: lease.Lease) -> None:
    """Let the delivery of a paid fork be overdue, without its leases ending meanwhile."""
    (first, _), *_ = await copies_of(shop, source)
    assert first.settled_at is not None
    of_first = tables.orders.c.order_id == first.order_id
    paid_at = {"settled_at": first.settled_at - timedelta(days=1)}
    async with shop.parts.db.begin() as tx:
        await tx.execute(tables.orders.update().where(of_first).values(**paid_at))
    shop.pass_time(300)
    await shop.settled_down()
