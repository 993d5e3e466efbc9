"""Orders of agents are paid once, whatever is repeated, interrupted or killed."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.support import mcp_seller
from tests.support.scripted_seller import DONE, PENDING, UNSETTLED
from tests.support.tenant_service import ITEM, LEASE_ID

from pve402 import client
from pve402.client import spending
from pve402.mcp_server import orders, problems

CAP = Decimal(1)
FULL = (409, {"detail": "full", "code": "no_capacity"}, {})
SIZE: dict[str, Any] = {
    **dict.fromkeys(("sku", "cores", "memory_mb", "disk_gb", "template")),
    "runtime_minutes": 5,
    "ssh_public_keys": [],
}


@pytest.fixture(autouse=True)
def of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep ledger, tokens and orders of a test apart."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


async def bought(placing: orders.Orders, name: str = "box") -> orders.Done:
    order = await placing.lease(name, CAP, **SIZE)
    done = await order.wait(60)
    assert done is not None
    return done


async def test_an_order_is_paid_kept_and_closed() -> None:
    async with mcp_seller.selling(DONE) as seller:
        desk = mcp_seller.desk(seller)
        done = await bought(placing := orders.Orders(desk))

        assert (done.leases[0].lease_id, done.paid_usd) == (LEASE_ID, "0.002")
        assert len(seller.paid) == 1
        assert await placing.open() == []
        kept = client.held.Leases().of(seller.service.url)
        assert [one.lease_id for one in kept] == [LEASE_ID]


async def test_an_order_whose_outcome_was_unknown_is_not_paid_again() -> None:
    async with mcp_seller.selling(UNSETTLED, DONE) as seller:
        placing = orders.Orders(mcp_seller.desk(seller))
        with pytest.raises(client.OutcomeUnknown):
            await bought(placing)
        assert await placing.open() == ["lease:box"]

        done = await bought(placing)

        assert done.leases[0].lease_id == LEASE_ID
        assert len(set(seller.paid)) == 1
        assert await placing.open() == []


async def test_two_processes_that_place_one_order_a_moment_apart_pay_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with mcp_seller.selling(DONE, DONE) as seller:
        desk, both_placed = mcp_seller.desk(seller), asyncio.Event()
        one = await orders.Orders(desk).lease("box", CAP, **SIZE)
        read_key = desk.key

        async def key_once_both_are_placed() -> Any:
            await both_placed.wait()
            return await read_key()

        monkeypatch.setattr(desk, "key", key_once_both_are_placed)
        other = await orders.Orders(mcp_seller.desk(seller)).lease("box", CAP, **SIZE)
        both_placed.set()
        done = [await each.wait(60) for each in (one, other)]

        assert [each and each.leases[0].lease_id for each in done] == [LEASE_ID, LEASE_ID]
        assert len(set(seller.paid)) == 1
        assert "already begun" in other.note


async def test_an_order_that_is_being_signed_is_joined_within_the_cap_of_both() -> None:
    async with mcp_seller.selling(DONE) as seller:
        desk = mcp_seller.desk(seller)
        wish = {"lease": {"sku": "standard-lxc", "runtime_minutes": 5}, "cap_usd": "1"}
        begun = orders.Intent(order_id="lease:box", idempotency_key="k" * 32, wish=wish)
        desk.intents.begin(begun)
        placing = orders.Orders(desk)

        with pytest.raises(problems.ToolFailed) as caught:
            await placing.find("lease:box")
        low = await placing.lease("box", Decimal("0.001"), **SIZE)
        with pytest.raises(client.OverCap):
            await low.wait(60)

        assert caught.value.code == "order_begun"
        assert seller.paid == []


@pytest.mark.parametrize("by", ["its name", "its order_id"])
async def test_a_killed_process_has_its_order_finished_by_the_next(by: str) -> None:
    async with mcp_seller.selling(PENDING, DONE) as seller:
        with pytest.raises(client.OutcomeUnknown):
            await bought(orders.Orders(mcp_seller.desk(seller)))

        later = orders.Orders(mcp_seller.desk(seller))
        if by == "its name":
            order = await later.lease("box", CAP, **{**SIZE, "runtime_minutes": 60})
        else:
            order = await later.find("lease:box")
        done = await order.wait(60)

        assert done
        assert done.leases[0].lease_id == LEASE_ID
        assert "interrupted" in order.note
        assert len(seller.paid) == 2
        assert len(set(seller.paid)) == 1


async def test_another_wallets_order_is_left_to_it() -> None:
    async with mcp_seller.selling(PENDING) as seller:
        with pytest.raises(client.OutcomeUnknown):
            await bought(orders.Orders(mcp_seller.desk(seller)))

        others = orders.Orders(mcp_seller.desk(seller, key="0x" + "b2" * 32))
        with pytest.raises(problems.ToolFailed) as caught:
            await bought(others)

        assert caught.value.code == "other_wallet"
        assert await others.open() == ["lease:box"]
        assert len(seller.paid) == 1


async def test_an_order_that_was_killed_before_it_was_signed_is_placed_anew() -> None:
    async with mcp_seller.selling(DONE) as seller:
        desk = mcp_seller.desk(seller)
        wish = {"lease": {"sku": "gone", "runtime_minutes": 5}, "cap_usd": "1"}
        left = orders.Intent(order_id="lease:box", idempotency_key="k" * 32, wish=wish, begun_at=1)
        desk.intents.begin(left)

        done = await bought(orders.Orders(desk))

        assert done.leases[0].lease_id == LEASE_ID
        assert len(seller.paid) == 1


async def test_what_is_refused_can_be_ordered_again() -> None:
    async with mcp_seller.selling(FULL, DONE) as seller:
        placing = orders.Orders(mcp_seller.desk(seller))
        with pytest.raises(client.refusals.NoCapacity):
            await bought(placing)

        assert await placing.open() == []
        await bought(placing)
        assert len(set(seller.paid)) == 2


async def test_a_repeated_call_joins_the_order_that_nobody_was_told_of() -> None:
    async with mcp_seller.selling(DONE) as seller:
        placing = orders.Orders(mcp_seller.desk(seller))
        one, other = await asyncio.gather(
            placing.lease("box", CAP, **SIZE), placing.lease("box", CAP, **SIZE)
        )

        assert one is other
        assert "Nothing was ordered" in other.note
        assert await one.wait(60)
        assert len(seller.paid) == 1


@pytest.mark.parametrize(
    ("status", "said"), [("active", "Use it"), ("stopped", "`renew`"), ("stopping", "call again")]
)
async def test_a_name_that_a_lease_has_is_not_sold_again(status: str, said: str) -> None:
    async with mcp_seller.selling() as seller:
        seller.leases = [{**ITEM, "hostname": "Box", "status": status}]

        with pytest.raises(problems.ToolFailed, match=f"already: {LEASE_ID}") as caught:
            await bought(orders.Orders(mcp_seller.desk(seller)))

        assert said in caught.value.following
        assert seller.paid == []


@pytest.mark.parametrize(
    ("limit_micro_usd", "refusal", "said"),
    [
        (2_000_000, client.OverCap, "at most 1 USD may be paid"),
        (1_000_000, client.OverLimit, "the user's limit for one payment is 1 USD"),
    ],
)
async def test_a_price_over_the_cap_is_not_paid(
    limit_micro_usd: int, refusal: type[client.OverCap], said: str
) -> None:
    limits = spending.Limits(per_call_micro_usd=limit_micro_usd)
    async with mcp_seller.selling() as seller:
        seller.price_atomic = 1_000_001
        placing = orders.Orders(mcp_seller.desk(seller, limits=limits))

        with pytest.raises(client.OverCap) as caught:
            await bought(placing)

        assert (type(caught.value), str(caught.value)) == (
            refusal,
            f"the price is 1.000001 USD, and {said}",
        )
        assert await placing.open() == []


async def test_a_seller_that_asks_for_more_than_it_quoted_is_not_paid() -> None:
    async with mcp_seller.selling() as seller:
        seller.script.amount_atomic = 1_000_001
        placing = orders.Orders(mcp_seller.desk(seller))

        with pytest.raises(client.OverCap):
            await bought(placing)

        assert seller.paid == []
        assert await placing.open() == []


async def test_the_purse_is_everybodys() -> None:
    limits = spending.Limits(per_hour_micro_usd=3000)
    async with mcp_seller.selling(DONE) as seller:
        await bought(orders.Orders(mcp_seller.desk(seller, limits=limits)), "one")

        with pytest.raises(client.OverLimit):
            await bought(orders.Orders(mcp_seller.desk(seller, limits=limits)), "other")

        assert len(seller.paid) == 1


async def test_an_order_that_nobody_placed_is_unknown() -> None:
    async with mcp_seller.selling() as seller:
        with pytest.raises(problems.ToolFailed) as caught:
            await orders.Orders(mcp_seller.desk(seller)).find("lease:none")

        assert caught.value.code == "order_unknown"


@pytest.mark.parametrize(
    ("asked", "limit", "cap"),
    [
        (None, 1_000_000, "1"),
        (0.05, 1_000_000, "0.05"),
        (7.5, 1_000_000, "1"),
        (7.5, None, "7.5"),
        (None, None, "1"),
    ],
)
def test_an_agent_lowers_the_users_limit_only(
    asked: float | None, limit: int | None, cap: str
) -> None:
    limits = spending.Limits(per_call_micro_usd=limit)

    assert orders.cap_usd(asked, limits) == Decimal(cap)


async def test_a_call_that_is_given_up_leaves_its_order_alone() -> None:
    async with mcp_seller.selling(DONE) as seller:
        placing = orders.Orders(mcp_seller.desk(seller))
        order = await placing.lease("box", CAP, **SIZE)
        waiting = asyncio.create_task(order.wait(60))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

        done = await bought(placing)

        assert waiting.cancelled()
        assert done.leases[0].lease_id == LEASE_ID
        assert len(seller.paid) == 1
