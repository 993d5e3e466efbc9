"""Money that bought nothing, as its wallet sees it over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_account.messages import encode_defunct
from tests.support import debts, payments, shop
from tests.support.api_fixtures import BODY
from tests.support.asgi import Reply
from tests.support.chain import chain, facilitator
from tests.support.installation import creation
from tests.support.shop import Shop

from pve402_devnet.chain import SimulatedChain
from pve402_devnet.facilitator import SimulatedFacilitator

__all__ = ["chain", "facilitator"]


@pytest.fixture
async def open_shop(
    tmp_path: Path, chain: SimulatedChain, facilitator: SimulatedFacilitator
) -> AsyncIterator[Shop]:
    """A shop that waits for its containers as long as they take."""
    async with shop.running(tmp_path, chain, facilitator, pve402_create_wait_seconds=20) as made:
        yield made


async def signed_in(made: Shop) -> dict[str, str]:
    """The header of the tenant's wallet token."""
    asked = await made.http.post("/auth/challenge", {"address": made.tenant.address})
    message = asked.json()["message"]
    signature = made.tenant.sign_message(encode_defunct(text=message)).signature.hex()
    issued = await made.http.post("/auth/token", {"message": message, "signature": signature})
    return {"Authorization": f"Bearer {issued.json()['accessToken']}"}


async def refused_and_paid(made: Shop) -> dict[str, str]:
    """Let a payment be refused and land afterwards; return its header."""
    purchase = made.inside.buy(made.tenant, creation())
    document = payments.document(purchase.payment, purchase.requirements)
    signed = {"PAYMENT-SIGNATURE": payments.encode(document)}
    made.inside.fail_call(debts.START, times=1)
    refused = await made.pay(signed)
    assert (refused.status, refused.code) == (502, "provisioning_failed")
    await debts.submit(made.inside, purchase)
    await debts.noticed(made.inside, purchase.payment.payer)
    return signed


async def redeemed(made: Shop, owed_id: str, headers: dict[str, str], **changes: Any) -> Reply:
    path = f"/owed/{owed_id}/redeem"
    return await made.http.post(path, {**BODY, **changes}, headers=headers)


async def test_a_payment_that_landed_too_late_is_told_and_redeemed(open_shop: Shop) -> None:
    made = open_shop
    signed = await refused_and_paid(made)
    again = await made.pay(signed)
    known = await signed_in(made)
    (item,) = (await made.http.get("/owed", headers=known)).json()

    first = await redeemed(made, item["owedId"], known, runtimeMinutes=20)
    (rest,) = (await made.http.get("/owed", headers=known)).json()
    dear = await redeemed(made, item["owedId"], known, runtimeMinutes=60)
    used = await made.http.get(
        f"/lease/{first.json()['leaseId']}",
        headers={"Authorization": f"Bearer {first.json()['accessToken']}"},
    )

    assert (again.status, again.code) == (502, "payment_owed")
    assert item["owedId"] in again.json()["detail"]
    assert (item["status"], item["reason"]) == ("redeemable", "paid_after_refusal")
    assert item["amount"] == str(shop.PRICE_ATOMIC)
    assert first.status == 200, first.body
    assert first.json()["status"] == "active"
    assert int(rest["amount"]) == shop.PRICE_ATOMIC - int(first.json()["amount"])
    assert (dear.status, dear.code) == (409, "owed_too_little")
    assert used.status == 200
    assert made.inside.earned == shop.PRICE_ATOMIC


async def test_who_did_not_pay_sees_and_redeems_nothing(open_shop: Shop) -> None:
    made = open_shop
    of_lease = (await made.pay(await made.sign())).json()["accessToken"]
    by_lease = {"Authorization": f"Bearer {of_lease}"}
    unknown = "w" + "0" * 30

    listed = [await made.http.get("/owed", headers=headers) for headers in ({}, by_lease)]
    asked = [await redeemed(made, unknown, headers) for headers in ({}, by_lease)]
    known = await signed_in(made)
    missing = [await redeemed(made, name, known) for name in (unknown, "w", "x" * 500, "%00")]

    assert [reply.code for reply in (*listed, *asked)] == ["unauthenticated", "not_allowed"] * 2
    assert {(reply.status, reply.code) for reply in missing} == {(404, "owed_not_found")}
    assert (await made.http.get("/owed", headers=known)).json() == []
