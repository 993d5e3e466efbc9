"""What the queries promise: one claim a payment, rotating vmids, slots, nonces, tokens."""

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from unittest.mock import ANY

import pytest
import sqlalchemy as sa
from tests.integration.storage.test_queue import new_lease

from pve402.domain import errors, lease, order
from pve402.storage import (
    column_types,
    database,
    lease_rows,
    order_rows,
    signer_rows,
    slots,
    tables,
    token_rows,
    vmid_rows,
)


def new_order(number: int, *, nonce: str = "0x01", idempotency: str | None = None) -> order.Order:
    return order.Order(
        order_id=f"o{number}",
        kind=order.OrderKind.CREATION,
        status=order.OrderStatus.CLAIMED,
        lease_id=None,
        network="eip155:84532",
        asset="0xasset",
        payer="0xpayer",
        nonce=nonce,
        pay_to="0xpayee",
        amount_atomic=2**200,
        valid_before=datetime.now(UTC) + timedelta(minutes=10),
        minutes=10,
        request_hash="hash",
        idempotency_hash=idempotency,
        created_at=datetime.now(UTC),
    )


async def test_one_payment_is_claimed_once_however_many_ask(db: database.Database) -> None:
    claims = await asyncio.gather(*(insert(db, new_order(number)) for number in range(8)))

    assert claims.count(True) == 1


async def test_an_error_of_the_database_repeats_no_value(db: database.Database) -> None:
    query = sa.text("INSERT INTO no_such_table (sealed) VALUES (:value)")

    with pytest.raises((sa.exc.DBAPIError, errors.DatabaseUnavailable)) as told:
        async with db.begin() as tx:
            await tx.execute(query, {"value": "a signed payment"})

    assert "a signed payment" not in f"{told.value} {told.value.__cause__}"


async def test_one_idempotency_key_is_claimed_once(db: database.Database) -> None:
    claims = [await insert(db, new_order(n, nonce=f"0x{n}", idempotency="key")) for n in range(3)]

    assert claims == [True, False, False]


async def test_an_amount_of_any_size_comes_back_exactly(db: database.Database) -> None:
    await insert(db, new_order(1))

    async with db.read() as tx:
        found = await order_rows.get(tx, "o1")

    assert found is not None
    assert found.amount_atomic == 2**200


@pytest.mark.parametrize(
    ("accounts", "include_over", "expected"),
    [
        ([], False, []),
        (["one"], False, [1]),
        (["one"], True, [1, 3]),
        (["two", "one"], False, [1, 2]),
        (["two", "one"], True, [1, 2, 3]),
        (["nobody"], True, []),
    ],
)
async def test_leases_are_listed_by_their_accounts(
    db: database.Database, accounts: list[str], include_over: bool, expected: list[int]
) -> None:
    rows = [new_lease(1).evolve(owner="one"), new_lease(2).evolve(owner="two")]
    rows.append(new_lease(3).evolve(owner="one", status=lease.LeaseStatus.UNWINDING))
    for row in rows:
        async with db.begin() as tx:
            await lease_rows.insert(db, tx, row, due=False)

    async with db.read() as tx:
        found = await lease_rows.list_by_owners(tx, accounts, include_over=include_over)

    assert sorted(row.vmid - 10_000 for row in found) == expected


async def test_a_long_list_is_whole_and_oldest_first(db: database.Database) -> None:
    async with db.begin() as tx:
        for number in range(50):
            await lease_rows.insert(db, tx, new_lease(number).evolve(owner="one"), due=False)

    async with db.read() as tx:
        found = await lease_rows.list_by_owners(tx, ["one"], include_over=False)

    made = [row.created_at for row in found]
    assert len(found) == 50
    assert made == sorted(made)


async def test_a_list_that_is_cut_has_the_newest_and_whatever_stands(
    db: database.Database,
) -> None:
    async with db.begin() as tx:
        for number in range(6):
            await lease_rows.insert(db, tx, new_lease(number).evolve(owner="one"), due=False)
            made = datetime(2026, 1, 1 + number, tzinfo=UTC)
            over = {"status": "ended", "ended_at": made} if number else {}
            of = tables.leases.update().where(tables.leases.c.vmid == 10_000 + number)
            await tx.execute(of.values(created_at=made, **over))

    async with db.read() as tx:
        found = await lease_rows.list_by_owners(tx, ["one"], include_over=True, limit=2)

    assert [row.vmid - 10_000 for row in found] == [0, 4, 5]


async def test_a_value_read_back_is_the_one_written(db: database.Database) -> None:
    new = new_order(1)
    await insert(db, new)
    moments = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=n) for n in range(1000)]

    async with db.read() as tx:
        found = await order_rows.get(tx, "o1")
    told = [
        column_types.UtcMilliseconds().process_result_value(
            column_types.to_milliseconds(moment), ANY
        )
        for moment in moments
    ]

    assert found == dataclasses.replace(
        new, created_at=ANY, due_at=ANY, fence=ANY, valid_before=ANY
    )
    assert told == moments


def test_a_whole_row_has_what_a_value_has_and_no_more() -> None:
    parts = {field.name for field in dataclasses.fields(lease.Size)}
    parts |= {"suspended_at", "suspend_reason", "time_held", "resumes_to"}
    whole = {"size", "suspension"}
    of_lease = {field.name for field in dataclasses.fields(lease.Lease)} - whole | parts
    of_order = {field.name for field in dataclasses.fields(order.Order)}

    assert set(tables.leases.c.keys()) == of_lease
    assert set(tables.orders.c.keys()) == of_order


async def test_a_payment_is_claimed_once_its_order_is_written(db: database.Database) -> None:
    order_made = new_order(1)
    key = {name: getattr(order_made, name) for name in ("network", "asset", "payer", "nonce")}
    async with db.read() as tx:
        before = await order_rows.look_back(db, tx, **key)
    await insert(db, order_made)

    async with db.read() as tx:
        after = await order_rows.look_back(db, tx, **key)

    assert (before.claimed, after.claimed, after.wait_seconds) == (False, True, 0)


async def test_failed_settlements_of_a_wallet_make_it_wait_longer_each_time(
    db: database.Database,
) -> None:
    waits = []
    for number in range(3):
        refused = new_order(number, nonce=f"0x{number}")
        refused = order.Order(
            **{
                **{f: getattr(refused, f) for f in refused.__dataclass_fields__},
                "status": order.OrderStatus.REFUSED,
                "refusal": "settlement_refused",
            }
        )
        await insert(db, refused)
        async with db.read() as tx:
            past = await order_rows.look_back(
                db, tx, network="eip155:1", asset="0xasset", payer="0xpayer", nonce="0xnew"
            )
            waits.append(past.wait_seconds)

    assert [round(wait / 60) for wait in waits] == [1, 2, 4]


async def test_a_refusal_of_the_payer_for_the_same_lease_counts_once(
    db: database.Database,
) -> None:
    refused = {"status": order.OrderStatus.REFUSED, "refusal": "settlement_refused"}
    for number, change in enumerate(
        [{"lease_id": "lease"}, {"lease_id": "lease", "payer": "0xother"}, {"lease_id": "other"}]
    ):
        made = new_order(number, nonce=f"0x{number}")
        await insert(db, dataclasses.replace(made, **refused, **change))  # type: ignore[arg-type]
    key = {"network": "eip155:1", "asset": "0xasset", "payer": "0xpayer", "nonce": "0xnew"}

    async with db.read() as tx:
        creation = await order_rows.look_back(db, tx, **key)
        renewal = await order_rows.look_back(db, tx, **key, lease_id="lease")

    assert (creation.failures, renewal.failures) == (2, 3)
    assert renewal.last_failure_at is not None


async def test_vmids_rotate_and_rest(db: database.Database) -> None:
    first, second = await reserve(db, "a"), await reserve(db, "b")
    async with db.begin() as tx:
        await vmid_rows.release(db, tx, first, "a")
    third = await reserve(db, "c")
    with pytest.raises(errors.NoCapacity):
        await reserve(db, "d")
    db.shift_seconds = vmid_rows.REST_SECONDS + 1

    assert [first, second, third] == [100, 101, 102]
    assert await reserve(db, "e") == 100


async def test_a_write_slot_is_waited_for(db: database.Database) -> None:
    handed_out = slots.NodeSlots(db, per_node=lambda _node: 2)
    both = asyncio.Barrier(2)  # whoever holds one waits for who holds the other
    at_once, most = 0, 0

    async def work() -> None:
        nonlocal at_once, most
        async with handed_out.hold("pve"):
            at_once += 1
            most = max(most, at_once)
            await both.wait()
            at_once -= 1

    await asyncio.gather(*(work() for _ in range(6)))

    assert most == 2


@pytest.mark.postgres
async def test_write_slots_are_shared_by_replicas(migrated_url: str) -> None:
    db = await database.Database(migrated_url).open()
    one, other = (slots.NodeSlots(db, per_node=lambda _node: 1) for _ in range(2))

    async with one.hold("pve"):
        waiting = asyncio.create_task(_hold_once(other))
        await asyncio.sleep(0.4)
        was_waiting = not waiting.done()
    await asyncio.wait_for(waiting, 60)
    await db.close()

    assert was_waiting


async def test_a_signer_nonce_is_taken_once(db: database.Database) -> None:
    takes = await asyncio.gather(*(take(db, 7, f"p{n}") for n in range(5)))

    async with db.read() as tx:
        following = await signer_rows.next_nonce(tx, 84532, "0xsigner")
        listed = await signer_rows.list_open(tx, 84532, "0xsigner")
    assert takes.count(True) == 1
    assert following == 8
    assert [row["nonce"] for row in listed] == [7]


async def test_only_the_highest_signer_nonce_can_be_given_back(db: database.Database) -> None:
    await take(db, 7, "p7")
    await take(db, 8, "p8")
    async with db.begin() as tx:
        low = await signer_rows.withdraw(tx, 84532, "0xsigner", 7)
        high = await signer_rows.withdraw(tx, 84532, "0xsigner", 8)
        following = await signer_rows.next_nonce(tx, 84532, "0xsigner")

    assert (low, high, following) == (False, True, 8)


async def test_a_new_primary_token_revokes_the_old_one(db: database.Database) -> None:
    async with db.begin() as tx:
        await token_rows.insert(db, tx, _token("old"))
        await token_rows.insert(db, tx, _token("narrow", primary=False))
        await token_rows.insert(db, tx, _token("new"))

    async with db.read() as tx:
        found = [await token_rows.find(db, tx, name) for name in ("old", "narrow", "new")]
    assert [token is not None for token in found] == [False, True, True]


async def test_room_for_a_token_is_made_of_expired_and_of_the_oldest(
    db: database.Database,
) -> None:
    now = await db.time()
    of_wallet = dataclasses.replace(
        _token("", primary=False), lease_id=None, expires_at=now + timedelta(hours=12)
    )
    other = {"owner": "eip155:1:0xother", "expires_at": now + timedelta(hours=12)}
    async with db.begin() as tx:
        for change in ({"expires_at": now - timedelta(seconds=9)}, other, {"lease_id": "lease"}):
            made = dataclasses.replace(of_wallet, token_hash="".join(change), **change)  # type: ignore[arg-type]
            await token_rows.insert(db, tx, made)
        await token_rows.insert(db, tx, _token("primary"))
    for number in range(102):
        async with db.begin() as tx:
            for lease_id in (None, "lease"):
                new = f"{lease_id} {number}"
                await token_rows.make_room(db, tx, owner=of_wallet.owner, lease_id=lease_id)
                made = dataclasses.replace(of_wallet, token_hash=new, lease_id=lease_id)
                await token_rows.insert(db, tx, made)

    async with db.read() as tx:
        rows = (await tx.execute(sa.select(tables.tokens))).all()

    of_lease = {row.token_hash for row in rows if row.lease_id is not None}
    of_the_wallet = {row.token_hash for row in rows if row.token_hash.startswith("None")}
    assert len(rows) == 202  # the other wallet's, the primary one, and twice a hundred
    assert len(of_the_wallet) == 100
    assert "None 101" in of_the_wallet
    assert {"primary", "lease 101"} < of_lease


async def test_what_is_revoked_leaves_no_row(db: database.Database) -> None:
    async with db.begin() as tx:
        for name in ("one", "two"):
            await token_rows.insert(db, tx, _token(name))
        told = [await token_rows.revoke(db, tx, name) for name in ("two", "two")]
        await token_rows.insert(db, tx, _token("three"))

    async with db.read() as tx:
        left = await tx.scalar(sa.select(sa.func.count()).select_from(tables.tokens))
    assert (told, left) == ([True, False], 1)


@pytest.mark.parametrize(("days", "known"), [(0, True), (6.9, True), (7.1, False), (30, False)])
async def test_a_token_is_known_for_a_week_after_its_lease(
    db: database.Database, days: float, known: bool
) -> None:
    async with db.begin() as tx:
        for name in ("of the lease", "given back"):
            await token_rows.insert(db, tx, _token(name, primary=False))
        await token_rows.revoke(db, tx, "given back")
        await token_rows.revoke_of_lease(db, tx, "lease")

    db.shift_seconds = days * 24 * 3600
    async with db.read() as tx:
        found = [await token_rows.find(db, tx, name) for name in ("of the lease", "given back")]
        was = [
            await token_rows.was_of_lease(db, tx, name)
            for name in ("of the lease", "given back", "never there")
        ]
    assert (found, was) == ([None, None], [known, False, False])


async def test_tokens_of_ended_leases_are_deleted_in_time(db: database.Database) -> None:
    async with db.begin() as tx:
        await token_rows.insert(db, tx, _token("one"))
        await token_rows.revoke_of_lease(db, tx, "lease")

    db.shift_seconds = 8 * 24 * 3600
    async with db.begin() as tx:
        await token_rows.make_room(db, tx, owner="o", lease_id=None)
        assert await tx.scalar(sa.select(sa.func.count()).select_from(tables.tokens)) == 0


async def test_a_challenge_nonce_is_used_once(db: database.Database) -> None:
    until = datetime.now(UTC) + timedelta(minutes=5)

    async def use() -> bool:
        async with db.begin() as tx:
            return await token_rows.use_nonce(db, tx, "nonce", until)

    assert [await use(), await use()] == [True, False]


async def _hold_once(handed_out: slots.NodeSlots) -> None:
    async with handed_out.hold("pve"):
        return


async def insert(db: database.Database, new: order.Order) -> bool:
    async with db.begin() as tx:
        claimed = await order_rows.insert(db, tx, new, fence="f", due_in_seconds=15)
    return claimed is not None


async def reserve(db: database.Database, lease_id: str) -> int:
    async with db.begin() as tx:
        return await vmid_rows.reserve(db, tx, lease_id, least=100, most=102)


async def take(db: database.Database, nonce: int, payment: str) -> bool:
    row = {"chain_id": 84532, "signer": "0xsigner", "nonce": nonce, "payment_key": payment}
    async with db.begin() as tx:
        return await signer_rows.take(db, tx, {**row, "transaction": "0x1", "raw": "0x2"})


def _token(name: str, *, primary: bool = True) -> token_rows.Token:
    return token_rows.Token(
        token_hash=name,
        owner=new_lease(1).owner,
        lease_id="lease",
        scope="*",
        primary_of_lease=primary,
        expires_at=None,
    )


@pytest.mark.postgres
async def test_a_commit_waits_for_the_log_where_the_server_would_not(migrated_url: str) -> None:
    db = await database.Database(migrated_url).open()

    async with db.read() as tx:
        shown = await tx.scalar(sa.text("SHOW synchronous_commit"))
    await db.close()

    assert shown == "on"
