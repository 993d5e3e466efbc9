"""What a node makes, and for whom, on both kinds of database."""

import itertools
from datetime import timedelta
from typing import Any

from tests.integration.storage.test_queue import new_lease

from pve402.domain import lease, private_images, reinstalls
from pve402.storage import creation_rows, database, lease_rows, tables, transaction

OWN, OTHER, THIRD = (f"eip155:84532:0x{digits * 20}" for digits in ("ab", "cd", "ef"))
COPY = {"template": private_images.template_of("l1")}
EMPTIED = {"status": "active", "hold_order_id": lease.REINSTALL_HOLD}


async def test_a_nodes_guests_are_counted_by_kind_and_owner(db: database.Database) -> None:
    numbers = itertools.count(2)
    now = await db.time()

    async def add(tx: transaction.Transaction, owner: str, **columns: Any) -> str:
        row = new_lease(next(numbers)).evolve(owner=owner)
        await lease_rows.insert(db, tx, row, due=False)
        changed = tables.leases.update().where(tables.leases.c.lease_id == row.lease_id)
        await tx.execute(changed.values(created_at=now, **columns))
        return row.lease_id

    async def emptied(tx: transaction.Transaction, **columns: Any) -> None:
        facts = {"reinstall_id": "r", "request_hash": "h", "template": "t", "created_at": now}
        one = await add(tx, OTHER, **EMPTIED)
        state = reinstalls.State.MAKING.value
        script = {"script_needs_network": False}
        values = {"lease_id": one, "state": state, **facts, **script, **columns}
        await tx.execute(tables.reinstalls.insert().values(**values))

    async with db.begin() as tx:
        await add(tx, OWN, status="creating")
        await add(tx, OWN, status="creating", **COPY)
        await add(tx, private_images.owner_of(OWN), create_sent_at=now)
        await add(tx, OTHER, status="unwinding", create_sent_at=now, forked_from="l1")
        await add(tx, OTHER, status="unwinding", create_sent_at=now - timedelta(hours=1))
        await add(tx, lease.NOBODY, status="creating")
        await add(tx, lease.DOCTOR)
        await add(tx, OWN, **COPY)  # waits
        await add(tx, OWN)
        await add(tx, THIRD)
        await add(tx, OWN, status="active", create_sent_at=now)
        await add(tx, OTHER, status="creating", node="another")
        await emptied(tx, asked_at=now)
        await emptied(tx, asked_at=None)
        await emptied(tx, asked_at=now - timedelta(hours=1))
    copy = new_lease(1).evolve(owner=OWN, created_at=now + timedelta(seconds=1), **COPY)
    async with db.read() as tx:
        of_copy = await creation_rows.count_others(db, tx, copy, 600)
        of_first = await creation_rows.count_others(db, tx, copy.evolve(created_at=now), 600)
        of_usual = await creation_rows.count_others(db, tx, copy.evolve(template="t"), 600)

    both = {"making": 6, "copies": 3, "accounts": 2}
    assert of_copy == creation_rows.Others(**both, own=2, own_before=1)
    assert of_first == creation_rows.Others(**both, own=2, own_before=0)
    assert of_usual == creation_rows.Others(**both, own=1, own_before=1)
