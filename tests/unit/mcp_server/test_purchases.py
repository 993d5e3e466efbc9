"""Orders of copies, of private images and of more time for these: paid once, as leases are."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support import mcp_seller, tenant_service
from tests.support.mcp_seller import Seller
from tests.support.scripted_seller import PENDING, receipt
from tests.support.tenant_service import ITEM, LEASE, LEASE_ID, TOKEN

from pve402 import client
from pve402.client import refusals
from pve402.mcp_server import orders, problems

IMAGE_ID = "l" + "7" * 25
IMAGE: dict[str, Any] = {
    **{name: LEASE[name] for name in ("status", "diskGB", "sku", "createdAt", "ownerWallet")},
    "imageId": IMAGE_ID,
    "template": f"private/{IMAGE_ID}",
    "name": "tools",
    "minuteUsd": "0.0001",
    **dict.fromkeys(("expiresAt", "deletesAt", "sourceLeaseId", "sourceTemplate", "endReason")),
}
BOUGHT = {name: LEASE[name] for name in ("message", "accessToken", "network", "amount")}
SAVED = (200, {**IMAGE, **BOUGHT, "transaction": "0x1"}, receipt())
COPY = {**LEASE, "leaseId": "l" + "1" * 25, "hostname": "copy"}
OTHER = {**LEASE, "leaseId": "l" + "2" * 25, "hostname": "copy-2"}
OFFER = {"possible": True, "needsStop": False, "problem": None, "atMost": 3, "minuteUsd": "0.001"}
FORKED: dict[str, Any] = {**COPY, "forkedFrom": LEASE_ID, "others": [OTHER]}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of order, and what it is answered once it is paid."""

    order_id: str
    method: str
    arguments: tuple[Any, ...]
    done: tuple[int, dict[str, Any], dict[str, str]]
    wished: dict[str, Any]
    price: str

    async def place(self, placing: orders.Orders, cap_usd: str = "1") -> orders.Order:
        """Place it."""
        call = getattr(placing, self.method)
        order: orders.Order = await call(*self.arguments, Decimal(cap_usd), **self.wished)
        return order


KINDS = {
    "fork": Kind(
        order_id="fork:copy",
        method="fork",
        arguments=("demo", "Copy"),
        done=(200, FORKED, receipt()),
        wished={"runtime_minutes": 5, "count": 2, "snapshot": None},
        price="0.004",
    ),
    "save": Kind(
        order_id="image:tools",
        method="save",
        arguments=("demo", "tools", 60),
        done=SAVED,
        wished={"snapshot": None},
        price="0.048",
    ),
    "keep": Kind(
        order_id=f"renew:{IMAGE_ID}",
        method="renew",
        arguments=(f"private/{IMAGE_ID}", 60),
        done=SAVED,
        wished={},
        price="0.006",
    ),
}
ALL = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@pytest.fixture(autouse=True)
def of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep ledger, tokens and orders of a test apart."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def stock(seller: Seller) -> None:
    """A box to copy and to save, and an image of it."""
    sku = {**mcp_seller.CATALOGUE["skus"][0], "imageGBUsdMinute": "0.0001"}
    seller.leases = [ITEM]
    seller.shown = {
        "/catalogue": {**mcp_seller.CATALOGUE, "skus": [sku]},
        f"/lease/{LEASE_ID}": ITEM,
        f"/lease/{LEASE_ID}/fork": OFFER,
        f"/images/private/{IMAGE_ID}": IMAGE,
    }


@ALL
async def test_a_killed_process_has_its_order_finished_by_the_next(kind: Kind) -> None:
    async with mcp_seller.selling(PENDING, kind.done) as seller:
        stock(seller)
        first = orders.Orders(mcp_seller.desk(seller))
        with pytest.raises(client.OutcomeUnknown):
            await (await kind.place(first)).wait(60)

        later = orders.Orders(mcp_seller.desk(seller))
        left = await later.open()
        done = await (await later.find(kind.order_id)).wait(60)

        assert left == [kind.order_id]
        assert done
        assert [one.hostname for one in done.leases] == (
            ["copy", "copy-2"] if kind.method == "fork" else []
        )
        assert (done.image is None) == (kind.method == "fork")
        assert done.paid_usd == "0.002"
        assert len(seller.paid) == 2
        assert len(set(seller.paid)) == 1
        assert await later.open() == []


@ALL
async def test_a_repeated_call_finishes_the_order_of_a_killed_process(kind: Kind) -> None:
    async with mcp_seller.selling(PENDING, kind.done) as seller:
        stock(seller)
        with pytest.raises(client.OutcomeUnknown):
            await (await kind.place(orders.Orders(mcp_seller.desk(seller)))).wait(60)

        order = await kind.place(orders.Orders(mcp_seller.desk(seller)))
        assert await order.wait(60)

        assert "interrupted" in order.note
        assert len(set(seller.paid)) == 1


@ALL
async def test_a_price_over_the_cap_is_told_and_not_paid(kind: Kind) -> None:
    async with mcp_seller.selling() as seller:
        stock(seller)
        placing = orders.Orders(mcp_seller.desk(seller))

        with pytest.raises(client.OverCap, match=f"the price is {kind.price}0* USD, and at most 0"):
            await kind.place(placing, "0")

        assert seller.paid == []
        assert await placing.open() == []


async def test_an_interrupted_fork_is_not_forgotten_while_nobody_can_sign_in() -> None:
    fork = KINDS["fork"]
    async with mcp_seller.selling(PENDING, fork.done) as seller:
        stock(seller)
        with pytest.raises(client.OutcomeUnknown):
            await (await fork.place(orders.Orders(mcp_seller.desk(seller)))).wait(60)
        seller.service.named = "elsewhere.example"  # nobody signs in there
        later = orders.Orders(mcp_seller.desk(seller))
        with pytest.raises(client.ClientError):
            await (await later.find(fork.order_id)).wait(60)
        still_open = await later.open()
        seller.service.named = None

        done = await (await fork.place(orders.Orders(mcp_seller.desk(seller)))).wait(60)

        assert still_open == [fork.order_id]
        assert done
        assert len(set(seller.paid)) == 1


@pytest.mark.parametrize("kind", [KINDS["fork"], KINDS["save"]], ids=["fork", "save"])
async def test_what_was_interrupted_is_finished_though_its_lease_has_ended(kind: Kind) -> None:
    async with mcp_seller.selling(PENDING, kind.done) as seller:
        stock(seller)
        with pytest.raises(client.OutcomeUnknown):
            await (await kind.place(orders.Orders(mcp_seller.desk(seller)))).wait(60)
        held = client.held.Held(lease_id=LEASE_ID, ctid="10000", hostname="demo", token=TOKEN)
        client.held.Leases().keep(seller.service.url, held)

        async def ended(request: web.Request) -> web.StreamResponse:
            if TOKEN in request.headers.get("Authorization", ""):
                return tenant_service.refusal(410, "lease_ended", "It is over.")
            return await seller.handle(request)

        seller.service.handler = ended
        done = await (await kind.place(orders.Orders(mcp_seller.desk(seller)))).wait(60)

        assert done
        assert len(set(seller.paid)) == 1


async def test_copies_are_kept_with_their_tokens_and_only_as_many_as_there_can_be() -> None:
    others = [{**OTHER, "leaseId": "l" + f"{number:025}"} for number in range(100, 150)]
    async with mcp_seller.selling((200, {**FORKED, "others": others}, receipt())) as seller:
        stock(seller)
        done = await (await KINDS["fork"].place(orders.Orders(mcp_seller.desk(seller)))).wait(60)

        assert done
        assert len(done.leases) == 10
        kept = {one.lease_id for one in client.held.Leases().of(seller.service.url)}
        assert kept == {one.lease_id for one in done.leases}


async def test_a_name_that_one_of_the_copies_would_share_is_refused() -> None:
    async with mcp_seller.selling() as seller:
        stock(seller)
        seller.leases = [ITEM, {**ITEM, "leaseId": "l" + "2" * 25, "hostname": "COPY-2"}]

        with pytest.raises(problems.ToolFailed, match="named COPY-2 already"):
            await KINDS["fork"].place(orders.Orders(mcp_seller.desk(seller)))


async def test_what_cannot_be_copied_is_said_before_its_price() -> None:
    async with mcp_seller.selling() as seller:
        stock(seller)
        offer = {**OFFER, "possible": False, "problem": "fork_needs_stop"}
        seller.shown[f"/lease/{LEASE_ID}/fork"] = offer

        with pytest.raises(refusals.Conflict) as caught:
            await KINDS["fork"].place(orders.Orders(mcp_seller.desk(seller)), "0")

        assert caught.value.code == "fork_needs_stop"
        assert "now" not in caught.value.detail  # some of it will never be possible
        assert "`power`" in problems.of(caught.value).following


async def test_what_is_no_image_is_not_renewed() -> None:
    async with mcp_seller.selling() as seller:
        with pytest.raises(client.NameUnknown):
            await orders.Orders(mcp_seller.desk(seller)).renew("private/../x", 60, Decimal(1))

        assert seller.service.asked == []
