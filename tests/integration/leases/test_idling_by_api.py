"""An idle lease through the API: what is refused, what is shown, and what keeps it running."""

from typing import Any

from tests.support import asgi, wallets
from tests.support.idle_leases import Figures, look_for, quiet_figures
from tests.support.installation import Installation
from tests.support.pausing import RATE, pausing_catalogue, shop

from pve402.api import app as application

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
