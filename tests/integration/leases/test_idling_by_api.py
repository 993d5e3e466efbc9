"""An idle lease through the API: what is refused, what is shown, and what keeps it running."""

from typing import Any

import pytest
from tests.support import asgi, wallets
from tests.support.idle_leases import Figures, look_for, quiet_figures
from tests.support.installation import Installation
from tests.support.pausing import RATE, pausing_catalogue, shop

from pve402.api import app as application
from pve402.domain import errors

__all__ = ["pausing_catalogue", "quiet_figures", "shop"]

BODY: dict[str, Any] = {
    "sku": "standard-lxc",
    "runtimeMinutes": 60,
    "hostname": "demo",
    "password": "correct horse",
    "idlePauseMinutes": 5,
}


async def test_a_tenant_sees_the_wish_the_pause_and_its_reason(
    shop: Installation, quiet_figures: Figures
) -> None:
    http = asgi.Asgi(application.create_app(shop.parts))
    quoted = await http.post("/lease/quote", BODY)
    signed = wallets.payment_headers(shop.tenant(), await http.post("/lease/container", BODY))
    bought = (await http.post("/lease/container", BODY, headers=signed)).json()
    token = {"Authorization": f"Bearer {bought['accessToken']}"}
    path = f"/lease/{bought['ctid']}"
    quiet_figures.of(shop)

    sold = (await http.get(path, headers=token)).json()
    await look_for(shop, 5)
    shop.fail_call("POST .*/termproxy", times=10)  # no shell runs here that could answer
    await http.get(f"/management/files/{bought['ctid']}?path=/etc/hostname", headers=token)
    used = (await look_for(shop, 5)).paused_at
    await look_for(shop, 3)
    paused = (await http.get(path, headers=token)).json()
    woken = (await http.post(f"{path}/start", headers=token)).json()

    assert quoted.status == 200
    assert (sold["idlePauseMinutes"], sold["paused"]) == (5, None)
    assert used is None
    assert (paused["wanted"], paused["vmStatus"]["status"]) == ("paused", "stopped")
    assert (paused["paused"]["because"], paused["paused"]["minuteUsd"]) == ("idle", RATE)
    assert (woken["wanted"], woken["paused"]) == ("running", None)


async def test_no_idle_pause_begins_while_a_command_is_paid(
    shop: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    http = asgi.Asgi(application.create_app(shop.parts))
    tenant = shop.tenant()
    outcomes: list[bool] = []
    signed = wallets.payment_headers(tenant, await http.post("/lease/container", BODY))
    bought = (await http.post("/lease/container", BODY, headers=signed)).json()
    path, command = f"/management/exec/{bought['ctid']}", {"command": "true"}
    shop.pass_time(1800)
    idle = await shop.leases.find(bought["leaseId"])

    async def judged_meanwhile(*_: Any) -> None:
        outcomes.append(await shop.parts.lease_reconciler.idle.pauses.pause_idle(idle))
        raise errors.TryLater

    async def opened(_guest: Any) -> None:
        return None

    monkeypatch.setattr(shop.parts.guest_work.hub, "session", opened)
    monkeypatch.setattr(shop.parts.leases, "pay_fee", judged_meanwhile)
    paid = wallets.payment_headers(tenant, await http.post(path, command))
    await http.post(path, command, headers=paid)

    assert outcomes == [False]


async def test_a_pause_that_was_asked_for_has_no_such_reason(shop: Installation) -> None:
    http = asgi.Asgi(application.create_app(shop.parts))
    signed = wallets.payment_headers(shop.tenant(), await http.post("/lease/container", BODY))
    bought = (await http.post("/lease/container", BODY, headers=signed)).json()
    token = {"Authorization": f"Bearer {bought['accessToken']}"}

    paused = (await http.post(f"/lease/{bought['ctid']}/pause", headers=token)).json()

    assert paused["paused"]["because"] is None


async def test_a_wish_that_cannot_be_kept_is_refused_before_money(shop: Installation) -> None:
    http = asgi.Asgi(application.create_app(shop.parts))
    wrong: list[dict[str, Any]] = [
        *({"idlePauseMinutes": value} for value in (4, 1441, 0, -5, 5.5, True, "soon")),
        {"sku": "basic-lxc"},
    ]

    refused = [await http.post("/lease/container", {**BODY, **each}) for each in wrong]

    assert [reply.status for reply in refused] == [422] * len(wrong)
    assert shop.earned == 0
