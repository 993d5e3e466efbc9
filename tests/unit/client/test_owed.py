"""What is owed to a wallet: listed, and redeemed without a payment."""

import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.support import preloaded, tenant_service
from tests.support.tenant_service import KEY, LEASE, TenantService

from pve402 import client, schemas

OWED_ID = "w" + "0" * 30
WISH = schemas.LeaseRequest(sku="standard-lxc", runtime_minutes=5, hostname="demo")
ITEM: dict[str, Any] = {
    "owedId": OWED_ID,
    "status": "redeemable",
    "reason": "paid_after_refusal",
    "network": "base-sepolia",
    "payer": LEASE["ownerWallet"],
    "amount": "2640",
    "usd": "0.00264",
    "transaction": LEASE["transaction"],
    "since": LEASE["createdAt"],
    "redeemableAt": None,
}
TRIED = {**ITEM, "owedId": None, "status": "delivering", "redeemableAt": LEASE["expiresAt"]}


async def serve(request: web.Request) -> web.StreamResponse:
    """Owe two things to whoever signed in, and redeem one."""
    if request.path == "/owed":
        return web.json_response([ITEM, TRIED])
    return web.json_response(LEASE)


async def command(service: TenantService, *words: str, **env: str) -> tuple[int, str]:
    """Run `pve402 WORDS` as the wallet; return its exit code and what it printed."""
    own = {"PVE402_WALLET_KEY": KEY, "PVE402_ROOT_PASSWORD": "a password", **env}
    with tempfile.TemporaryFile() as printed:
        process = preloaded.start(
            *("pve402", *words, "--url", service.url),
            environment={**os.environ, **own},
            folder=Path.cwd(),
            stdout=printed,
            stderr=printed,
        )
        code = await asyncio.to_thread(process.wait, 60)
        printed.seek(0)
        return code, printed.read().decode()


async def test_what_is_owed_is_listed_by_signing_in() -> None:
    async with (
        tenant_service.serving(serve) as service,
        client.Client(service.url, key=KEY) as tenant,
    ):
        redeemable, tried = await tenant.owed()

    assert (redeemable.owed_id, redeemable.amount, redeemable.status) == (
        OWED_ID,
        "2640",
        "redeemable",
    )
    assert (tried.owed_id, tried.status) == (None, "delivering")
    assert [(asked.path, asked.token, asked.pays) for asked in service.asked] == [
        ("/owed", "wallet-1", False)
    ]


async def test_a_redemption_pays_nothing_and_its_token_opens_the_lease() -> None:
    async with (
        tenant_service.serving(serve) as service,
        client.Client(service.url, key=KEY) as tenant,
    ):
        answer = await tenant.redeem(OWED_ID, WISH)
        opened = await tenant.authorization(answer.lease_id)

    (asked,) = service.asked
    assert (asked.method, asked.path) == ("POST", f"/owed/{OWED_ID}/redeem")
    assert (asked.token, asked.pays) == ("wallet-1", False)
    assert len(asked.headers["Idempotency-Key"]) >= 22
    assert opened == {"Authorization": f"Bearer {LEASE['accessToken']}"}


async def test_a_redemption_that_is_still_made_is_asked_for_again_with_the_same_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pending = tenant_service.refusal(503, "delivery_pending", "It is tried again.")
    async with (
        tenant_service.serving(
            tenant_service.answers(pending, web.json_response(LEASE))
        ) as service,
        client.Client(service.url, key=KEY) as tenant,
    ):
        await tenant.authorization(None)

        async def no_wait(_seconds: float) -> None:
            return None

        monkeypatch.setattr(asyncio, "sleep", no_wait)
        await tenant.redeem(OWED_ID, WISH)

    first, second = (asked.headers["Idempotency-Key"] for asked in service.asked)
    assert first == second


@pytest.mark.parametrize("name", ["../lease/x", "w?x=1", "a b", "%2e%2e", "w/../.."])
async def test_a_name_of_a_debt_stays_one_part_of_the_path(name: str) -> None:
    async with (
        tenant_service.serving(serve) as service,
        client.Client(service.url, key=KEY) as tenant,
    ):
        await tenant.redeem(name, WISH)

    (asked,) = service.asked
    assert asked.path.count("/") == 3
    assert asked.path.endswith("/redeem")


async def test_the_command_lists_what_is_owed_in_columns() -> None:
    async with tenant_service.serving(serve) as service:
        code, printed = await command(service, "owed")
        _, as_json = await command(service, "owed", "--json")

    assert code == 0
    assert OWED_ID in printed
    assert "0.00264" in printed
    assert "delivering, redeemable" in printed
    assert [item["owedId"] for item in json.loads(as_json)] == [OWED_ID, None]


async def test_the_command_redeems_and_shows_the_lease() -> None:
    async with tenant_service.serving(serve) as service:
        code, printed = await command(service, "redeem", OWED_ID, "--hostname", "demo")

    assert code == 0, printed
    assert LEASE["leaseId"] in printed
    assert service.asked[-1].path == f"/owed/{OWED_ID}/redeem"


async def test_nothing_owed_is_told_in_words() -> None:
    async with tenant_service.serving(tenant_service.says([])) as service:
        code, printed = await command(service, "owed")

    assert (code, printed) == (0, "pve402: nothing is owed to this wallet here\n")
