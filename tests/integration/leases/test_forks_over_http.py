"""Forks as tenants ask for them: what is told before any payment, and what a payment brings."""

import dataclasses
from typing import Any

from tests.support import asgi, wallets
from tests.support import forks as support
from tests.support.debts import mine
from tests.support.forks import shop
from tests.support.images import image_proxmox, image_world
from tests.support.installation import Installation

from pve402.api import app as application
from pve402.domain import lease
from pve402.leases import access
from pve402.storage import token_rows, vault

__all__ = ["image_proxmox", "image_world", "shop"]

WISH = {"runtimeMinutes": 30, "count": 3, "hostname": "copy"}


class Tenant:
    """The tenant of a lease, and its token."""

    def __init__(self, shop: Installation, row: lease.Lease, token: str) -> None:
        self.http = asgi.Asgi(application.create_app(shop.parts))
        self.path = f"/lease/{row.lease_id}/fork"
        self.bearer = {"authorization": f"Bearer {token}"}

    async def post(self, wish: Any = WISH, **headers: str) -> asgi.Reply:
        """Ask for copies."""
        return await self.http.post(self.path, wish, headers={**self.bearer, **headers})

    async def get(self, query: str = "") -> asgi.Reply:
        """Ask whether copies can be had."""
        return await self.http.get(self.path + query, headers=self.bearer)


async def tenant_of(shop: Installation) -> Tenant:
    """A tenant with a running container."""
    answer = await shop.lease(size=support.SIZE, hostname="source")
    return Tenant(shop, answer.lease, answer.access_token or "")


async def narrowed(shop: Installation, tenant: Tenant) -> dict[str, str]:
    """The headers of a token with every word that a token can be narrowed to."""
    token = "pve402_narrow_0123456789abcdef0123456789"
    row = await shop.leases.find(tenant.path.split("/")[2])
    async with shop.parts.db.begin() as tx:
        one = token_rows.Token(
            token_hash=vault.token_hash(token),
            owner=row.owner,
            lease_id=row.lease_id,
            scope=" ".join(sorted(access.SCOPES)),
            primary_of_lease=False,
            expires_at=None,
        )
        await token_rows.insert(shop.parts.db, tx, one)
    return {"authorization": f"Bearer {token}"}


async def test_three_copies_are_offered_paid_for_and_used(shop: Installation) -> None:
    tenant, earned = await tenant_of(shop), shop.earned
    offer = (await tenant.get()).json()
    asked = await tenant.post()
    paying = wallets.payment_headers(shop.tenant(), asked)

    bought = await tenant.post(**paying)

    answer = bought.json()
    copies = [answer, *answer["others"]]
    assert (offer["possible"], offer["needsStop"], offer["atMost"]) == (True, False, 4)
    assert (asked.status, bought.status) == (402, 200)
    assert shop.earned - earned == int(answer["amount"])
    assert [one["hostname"] for one in copies] == ["copy", "copy-2", "copy-3"]
    assert len({one["ctid"] for one in copies}) == 3
    for one in copies:
        own = {"authorization": f"Bearer {one['accessToken']}"}
        shown = await tenant.http.get(f"/lease/{one['leaseId']}", headers=own)
        assert (shown.json()["status"], shown.json()["hostname"]) == ("active", one["hostname"])
        others = await tenant.http.get(tenant.path, headers=own)
        assert others.status == 404


async def test_what_was_paid_for_goes_on_when_copies_are_no_longer_sold(
    shop: Installation,
) -> None:
    tenant, named = await tenant_of(shop), {"Idempotency-Key": "k" * 32}
    asked = await tenant.post()
    paying = wallets.payment_headers(shop.tenant(), asked)
    another = wallets.payment_headers(shop.tenant(), asked)
    bought, earned = await tenant.post(**paying, **named), shop.earned
    forks = shop.parts.forks
    told: list[Any] = []
    for at_most in (2, 0):
        forks.settings = dataclasses.replace(forks.settings, forks_at_once=at_most)
        again = await tenant.post(**paying, **named)
        told.append((again.status, (await tenant.post()).code, (await tenant.post(**another)).code))
        assert again.json()["leaseId"] == bought.json()["leaseId"]

    assert told == [(200, "out_of_bounds", "out_of_bounds"), (200, "forks_off", "forks_off")]
    assert shop.earned == earned


async def test_what_cannot_be_is_refused_before_a_price_is_named(shop: Installation) -> None:
    tenant = await tenant_of(shop)
    narrow = await narrowed(shop, tenant)

    codes = [
        (await tenant.http.post(tenant.path, WISH)).code,
        (await tenant.http.post(tenant.path, WISH, headers=narrow)).code,
        (await tenant.post({**WISH, "count": 5})).code,
        (await tenant.post({**WISH, "count": 0})).code,
        (await tenant.post({**WISH, "snapshot": "missing"})).code,
        (await tenant.post({**WISH, "hostname": "not_a_name"})).code,
        (await tenant.post({**WISH, "runtimeMinutes": 0})).code,
        (await tenant.post({**WISH, "disk": 3})).code,
    ]

    assert codes == [
        "unauthenticated",
        "not_allowed",
        "out_of_bounds",
        "out_of_bounds",
        "snapshot_not_found",
        "invalid_hostname",
        "invalid_body",
        "invalid_body",
    ]
    assert (await tenant.get("?snapshot=missing")).json()["problem"] == "snapshot_not_found"


async def test_what_was_delivered_is_handed_over_though_the_first_copy_is_owed(
    shop: Installation,
) -> None:
    tenant, named = await tenant_of(shop), {"Idempotency-Key": "k" * 32}
    source = await shop.leases.find(tenant.path.split("/")[2])
    support.lose_once_paid(shop, "copy")
    paying = wallets.payment_headers(shop.tenant(), await tenant.post())
    begun = await tenant.post(**paying, **named, Prefer="respond-async")
    await support.until_paid(shop, source)
    mine(shop)
    shop.fail_call(r"POST .*/clone$", times=10_000)
    await shop.settled_down()
    early = await tenant.post(**paying, **named, Prefer="respond-async")
    await support.pass_a_day_of_trying(shop, source)

    again, unproven = await tenant.post(**paying, **named), await tenant.post(**paying)

    first, others = again.json(), again.json()["others"]
    assert (begun.status, early.status, again.status, unproven.status) == (202, 202, 200, 200)
    assert early.json()["others"] == others
    assert (first["status"], first["accessToken"]) == ("failed", None)
    assert "GET /owed" in first["message"]
    assert len(others) == 2
    for one in others:
        own = {"authorization": f"Bearer {one['accessToken']}"}
        assert (await tenant.http.get(f"/lease/{one['leaseId']}", headers=own)).status == 200
    assert {one["accessToken"] for one in unproven.json()["others"]} == {None}
