"""Warm guests: made ahead, one tenant each, re-keyed, never reused."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.installation import Installation, World, creation, owner_of, running

from pve402.domain import errors, lease, warm_kind
from pve402.leases import making_turns, service, warm_guests, warm_pool, workflow
from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator
from pve402_devnet.pve.simulator import SimulatedProxmox

POOL = "standard-lxc:1:512:8=2"
Status = lease.LeaseStatus


@pytest.fixture
async def warm(
    database_url: str,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> AsyncIterator[Installation]:
    """An installation whose pool is full."""
    async with running(database_url, proxmox, chain, facilitator, pve402_pool=POOL) as made:
        await made.pool_of(2)
        yield made


async def test_ready_guests_run_with_their_tags_and_belong_to_nobody(warm: Installation) -> None:
    rows = await warm.pool_of(2)

    assert {row.owner for row in rows} == {lease.NOBODY}
    assert {row.expires_at for row in rows} == {None}
    assert warm.marked_guests == {row.vmid for row in rows}
    assert all(warm.runs(row.vmid) for row in rows)


async def test_a_tenant_gets_the_guest_that_stood_longest(warm: Installation) -> None:
    oldest, _ = await warm.pool_of(2)
    tenant = warm.tenant()

    answer = await warm.lease(tenant, hostname="mine.example.org")

    taken, config = answer.lease, warm.proxmox.world.guests[oldest.vmid].config
    assert (taken.lease_id, taken.vmid) == (oldest.lease_id, oldest.vmid)
    assert (taken.status, taken.owner) == (Status.ACTIVE, owner_of(tenant))
    assert config.text("hostname") == "mine.example.org"
    record = warm.parts.machines.read_description(config.text("description"))
    assert record is not None
    assert record.owner == owner_of(tenant)


async def test_a_hand_over_asks_nothing_twice(warm: Installation) -> None:
    oldest, _ = await warm.pool_of(2)
    await warm.parts.filler.stop()
    asked = warm.record_proxmox_calls()

    answer = await warm.lease()

    guest = f"/nodes/pve/lxc/{oldest.vmid}"
    assert answer.lease.vmid == oldest.vmid
    # Its shell, which the hub opens with one look at the guest and one termproxy, is a fake here.
    assert [call for call in asked if "/lxc/" in call] == [
        f"GET {guest}/config",
        f"PUT {guest}/config",
    ]


async def test_a_guest_that_stops_during_the_settlement_is_started_and_handed_over(
    warm: Installation,
) -> None:
    oldest, _ = await warm.pool_of(2)
    honest = warm.parts.settler.settle

    async def settle(*terms: Any, **named: Any) -> Any:
        done = await honest(*terms, **named)
        guest = warm.proxmox.world.guests[oldest.vmid]
        guest.pid = guest.started_at = None
        return done

    warm.parts.settler.settle = settle  # type: ignore[method-assign]

    answer = await warm.lease()

    assert answer.lease.vmid == oldest.vmid
    assert warm.runs(oldest.vmid)
    assert len(warm.rekey.told) == 1


async def test_the_guest_is_re_keyed_only_when_the_money_has_moved(warm: Installation) -> None:
    earned_then: list[int] = []
    warm.rekey.on_rekey = lambda: earned_then.append(warm.earned)

    answer = await warm.lease(password="a good one", hostname="mine")

    ((told, secrets),) = warm.rekey.told
    assert earned_then == [warm.price_of(creation())]
    assert (told.lease_id, told.hostname) == (answer.lease.lease_id, "mine")
    assert secrets.password == "a good one"


async def test_the_answer_waits_for_a_re_keying_that_fails_at_first(warm: Installation) -> None:
    statuses: list[Any] = []
    warm.rekey.failures = 3
    warm.rekey.on_rekey = lambda: statuses.append(len(warm.rekey.told))

    answer = await warm.lease()

    assert len(statuses) == 4
    assert len(warm.rekey.told) == 1
    assert answer.lease.status is Status.ACTIVE
    assert warm.earned == warm.price_of(creation())


async def test_a_paid_guest_that_vanishes_is_made_anew(warm: Installation) -> None:
    honest = warm.parts.settler.settle
    vanished: list[int] = []

    async def settle(*terms: Any, **named: Any) -> Any:
        done = await honest(*terms, **named)
        (row,) = [row for row in await warm.leases_now() if row.owner]
        vanished.append(row.vmid)
        del warm.proxmox.world.guests[row.vmid]
        return done

    warm.parts.settler.settle = settle  # type: ignore[method-assign]
    key, wish = warm.tenant(), creation()
    asking = asyncio.ensure_future(warm.leases.create(wish, warm.buy(key, wish)))
    for _ in range(100):
        await warm.settled_down()
        if asking.done():
            break
        warm.pass_time(10)

    answer = await asking
    assert answer.lease.status is lease.LeaseStatus.ACTIVE
    assert answer.lease.vmid not in vanished
    assert warm.runs(answer.lease.vmid)
    assert warm.earned == warm.price_of(wish)


async def test_tenants_that_come_together_get_a_guest_each(warm: Installation) -> None:
    answers = await asyncio.gather(*(warm.lease() for _ in range(4)))

    assert len({answer.lease.vmid for answer in answers}) == 4
    assert {answer.lease.status for answer in answers} == {Status.ACTIVE}
    assert sum(answer.lease.pooled_at is not None for answer in answers) >= 2


@pytest.mark.postgres
async def test_replicas_fill_one_pool_and_sell_each_guest_once(
    migrated_url: str,
    world: World,
) -> None:
    url = migrated_url.replace("postgresql+asyncpg://", "postgresql://")
    async with (
        running(url, *world, pve402_pool=POOL) as one,
        running(url, *world, pve402_pool=POOL) as two,
    ):
        ready = await one.pool_of(2)
        for replica in (one, two):
            await replica.parts.filler.stop()
        answers = await asyncio.gather(*(at.lease() for at in (one, two, one, two)))
        sold = [answer.lease for answer in answers]
        keyed = [of.vmid for at in (one, two) for of, _ in at.rekey.told]

        assert len({row.vmid for row in sold}) == 4
        assert {row.vmid for row in sold} >= {row.vmid for row in ready}
        assert sorted(keyed) == sorted(row.vmid for row in ready)
        assert one.earned == 4 * one.price_of(creation())


async def test_the_pool_is_filled_again(warm: Installation) -> None:
    taken = (await warm.lease()).lease

    rows = await warm.pool_of(2)

    assert taken.lease_id not in {row.lease_id for row in rows}
    assert len(warm.marked_guests) == 3


@pytest.mark.parametrize(
    ("wish", "how"),
    [
        pytest.param({"size": lease.Size(cores=2, memory_mb=512, disk_gb=8)}, {}, id="size"),
        pytest.param({}, {"wait_seconds": 0.0}, id="answered-before-it-is-done"),
    ],
)
async def test_what_the_pool_does_not_have_is_made(
    warm: Installation, wish: dict[str, Any], how: dict[str, Any]
) -> None:
    asked = creation(**wish)

    answer = await warm.leases.create(asked, warm.buy(warm.tenant(), asked, **how))

    assert answer.lease.pooled_at is None
    assert len(await warm.pool_of(2)) == 2


async def test_a_broken_guest_is_replaced_by_a_new_one_and_paid_once(warm: Installation) -> None:
    before = await warm.pool_of(2)
    warm.rekey.sound = False

    answer = await warm.lease()
    await warm.settled_down()

    rows = {row.lease_id: row for row in await warm.leases_now()}
    assert answer.lease.vmid not in {row.vmid for row in before}
    assert warm.earned == warm.price_of(creation())
    assert rows[before[0].lease_id].status is Status.FAILED
    assert rows[before[0].lease_id].owner == lease.NOBODY
    assert rows[before[0].lease_id].end_reason == warm_guests.BROKEN
    assert warm.rekey.told == []


@pytest.mark.parametrize("resent", ["payment", "idempotency-key"])
async def test_a_lease_id_that_may_yet_change_is_not_told(warm: Installation, resent: str) -> None:
    tenant, wish = warm.tenant(), creation()
    keyed = {"idempotency_key": "k" * 32}
    first = warm.buy(tenant, wish, **keyed)
    other = first if resent == "payment" else warm.buy(tenant, wish, **keyed)
    async_again = dataclasses.replace(other, wait_seconds=0.0)
    warm.rekey.sound = False
    looked_at, go_on = hold_the_look(warm)

    buying = asyncio.create_task(warm.leases.create(wish, first))
    await looked_at.wait()
    with pytest.raises(errors.OrderPending):
        await warm.leases.create(wish, async_again)
    go_on.set()
    answer = await buying
    told = await warm.leases.create(wish, async_again)

    assert told.lease.lease_id == answer.lease.lease_id


async def test_a_renewal_of_a_lease_that_stood_ready_can_be_answered_early(
    warm: Installation,
) -> None:
    tenant = warm.tenant()
    row = (await warm.lease(tenant)).lease

    answer = await warm.leases.renew(row, 30, warm.renewal(tenant, row, 30, wait_seconds=0.0))

    assert row.pooled_at is not None
    assert answer.lease.lease_id == row.lease_id


async def test_a_guest_that_went_down_unseen_is_replaced_too(warm: Installation) -> None:
    for row in await warm.pool_of(2):
        guest = warm.proxmox.world.guests[row.vmid]
        guest.pid = guest.started_at = None

    answer = await warm.lease()

    assert answer.lease.pooled_at is None
    assert warm.runs(answer.lease.vmid)


async def test_a_guest_that_was_not_paid_is_destroyed_and_never_sold_again(
    warm: Installation,
) -> None:
    oldest, _ = await warm.pool_of(2)
    tenant = warm.tenant()
    purchase = warm.buy(tenant, creation())
    hold = spend_before_settling(warm, purchase)

    with pytest.raises(errors.PaymentRefused):
        await warm.leases.create(creation(), purchase)
    await warm.settled_down()

    assert hold == ["spent"]
    assert oldest.vmid not in warm.proxmox.world.guests
    assert oldest.lease_id not in {row.lease_id for row in await warm.pool_of(2)}
    assert warm.rekey.told == []


async def test_nobody_is_shown_a_guest_that_stands_ready(warm: Installation) -> None:
    row, _ = await warm.pool_of(2)
    caller = service.Caller(owner=owner_of(warm.tenant()), how="wallet", by_key=True)

    for asked in (row.lease_id, row.ctid):
        for who in (None, caller):
            with pytest.raises(errors.LeaseNotFound):
                await warm.leases.find(asked, who)
    assert await warm.leases.list_leases(caller, include_over=True) == []


async def test_a_full_node_still_sells_what_stands_ready(warm: Installation) -> None:
    await warm.pool_of(2)
    wish = creation()
    limits = warm.parts.lease_options.limits
    object.__setattr__(limits, "leases_per_node", 2)
    sku = warm.leases.catalogue.sku(wish.sku)

    await warm.leases.check_room(sku, wish.size)
    answer = await warm.lease()

    assert answer.lease.pooled_at is not None
    with pytest.raises(errors.NoCapacity):
        await warm.leases.check_room(sku, lease.Size(cores=2, memory_mb=512, disk_gb=8))


async def test_a_ready_guest_that_vanished_is_made_again(warm: Installation) -> None:
    gone, _ = await warm.pool_of(2)
    del warm.proxmox.world.guests[gone.vmid]

    await warm.parts.lease_reconciler.run_once()
    warm.pass_time(60)
    rows = await warm.pool_of(2)

    assert gone.lease_id not in {row.lease_id for row in rows}
    assert all(warm.runs(row.vmid) for row in rows)


async def test_without_a_pool_what_is_left_of_one_is_destroyed(
    database_url: str,
    proxmox: SimulatedProxmox,
    chain: SimulatedChain,
    facilitator: SimulatedFacilitator,
) -> None:
    async with running(database_url, proxmox, chain, facilitator, pve402_pool=POOL) as before:
        await before.pool_of(2)

    async with running(database_url, proxmox, chain, facilitator) as now:
        await now.pool_of(0)
        await now.settled_down()

        assert now.marked_guests == set()


async def test_after_a_failure_the_next_guest_waits(installation: Installation) -> None:
    filler, options = installation.parts.filler, installation.parts.lease_options
    installation.fail_call(r"POST /nodes/pve/lxc$", times=2)
    object.__setattr__(options, "warm_kinds", warm_kinds(POOL))
    await filler.run_once()
    installation.parts.lease_worker.wake()
    await installation.until(lambda row: row.end_reason == warm_pool.FAILED)
    await installation.settled_down()

    await filler.run_once()
    made_meanwhile = len(await installation.leases_now())
    installation.pass_time(60)
    await filler.run_once()

    assert made_meanwhile == 2
    assert len(await installation.leases_now()) == 4


async def test_a_pool_that_lacks_many_is_filled_many_at_a_time(
    installation: Installation,
) -> None:
    filler, options = installation.parts.filler, installation.parts.lease_options
    await filler.stop()
    object.__setattr__(options, "warm_kinds", warm_kinds("standard-lxc:1:512:8=20"))
    object.__setattr__(options, "creates_per_node", 8)

    async with installation.holding(r"POST /nodes/pve/lxc$"):
        await filler.run_once()
        ordered = len(await installation.leases_now())

    assert ordered == 6  # two turns of the node are left to tenants


async def test_tenants_who_wait_for_a_guest_go_before_the_pool(installation: Installation) -> None:
    filler, options = installation.parts.filler, installation.parts.lease_options
    await filler.stop()
    object.__setattr__(options, "warm_kinds", warm_kinds("standard-lxc:2:512:8=20"))

    async with installation.holding(r"POST /nodes/pve/lxc$"):
        paying = asyncio.create_task(installation.lease())
        await installation.until(lambda row: row.owner != lease.NOBODY)
        await filler.run_once()
        of_pool = [row for row in await installation.leases_now() if row.owner == lease.NOBODY]
    await paying

    assert len(of_pool) == 2


async def test_the_pool_is_refilled_slowly_while_its_guests_are_handed_over(
    warm: Installation,
) -> None:
    await warm.parts.filler.stop()
    looked_at, go_on = hold_the_look(warm)
    object.__setattr__(
        warm.parts.lease_options, "warm_kinds", warm_kinds("standard-lxc:1:512:8=20")
    )

    buying = asyncio.create_task(warm.lease())
    await looked_at.wait()
    before = len(await warm.leases_now())
    await warm.parts.filler.run_once()
    ordered = len(await warm.leases_now()) - before
    go_on.set()
    await buying

    assert ordered == 2


async def test_the_pool_leaves_turns_of_a_node_to_tenants(installation: Installation) -> None:
    parts = installation.parts
    object.__setattr__(parts.lease_options, "creates_per_node", 3)
    async with installation.holding(r"POST /nodes/pve/lxc$"):
        paying = asyncio.create_task(installation.lease())
        row = await installation.until(lambda row: row.create_sent_at is not None)

        other = dataclasses.replace(row, lease_id="l2")
        pooled = dataclasses.replace(other, owner=lease.NOBODY)
        await making_turns.check(parts.db, other, parts.lease_options)
        with pytest.raises(workflow.RetryLater, match="makes 1 guests already"):
            await making_turns.check(parts.db, pooled, parts.lease_options)
    await paying


async def test_a_guest_that_is_never_ready_is_given_up(installation: Installation) -> None:
    options, looks = installation.parts.lease_options, 0

    async def check(_row: lease.Lease) -> None:
        nonlocal looks
        looks += 1
        raise warm_guests.NotReady("its shell does not answer")

    installation.rekey.check = check  # type: ignore[method-assign]
    object.__setattr__(options, "warm_kinds", warm_kinds("standard-lxc:1:512:8=1"))
    await installation.parts.filler.run_once()
    installation.parts.lease_worker.wake()
    await installation.until(lambda _row: looks > 0)
    for _ in range(20):
        installation.pass_time(60)
        await installation.settled_down()

    assert {row.end_reason for row in await installation.leases_now()} == {warm_pool.FAILED}
    assert looks > 1


def warm_kinds(text: str) -> tuple[warm_kind.WarmKind, ...]:
    """What a setting means."""
    return (warm_kind.WarmKind.parse(text),)


def hold_the_look(warm: Installation) -> tuple[asyncio.Event, asyncio.Event]:
    """Stop before the look at a guest that is sold; tells that it began, and lets it go on."""
    began, go_on = asyncio.Event(), asyncio.Event()
    honest = warm.rekey.check

    async def check(row: lease.Lease) -> None:
        if row.owner != lease.NOBODY:
            began.set()
            await go_on.wait()
        await honest(row)

    warm.rekey.check = check  # type: ignore[method-assign]
    return began, go_on


def spend_before_settling(warm: Installation, purchase: service.Purchase) -> list[str]:
    """Have the payer spend the payment elsewhere between the look at the guest and settlement."""
    done: list[str] = []
    honest = warm.rekey.check

    async def check(row: lease.Lease) -> None:
        await honest(row)
        if not done and row.owner != lease.NOBODY:
            done.append("spent")
            await warm.spend_elsewhere(purchase)

    warm.rekey.check = check  # type: ignore[method-assign]
    return done
