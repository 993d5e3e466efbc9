"""The routes that start, stop, reboot and pause a container."""

from datetime import timedelta

import pytest
from tests.support import fake_leases, wallets
from tests.support.api_fixtures import NETWORK, Api

from pve402.domain import errors, lease, meter, power
from pve402.leases import service

ALICE = f"{NETWORK}:{wallets.ALICE.address.lower()}"
BOB = f"{NETWORK}:{wallets.BOB.address.lower()}"
TOKEN = "token-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
ACTS = ["start", "stop", "reboot", "pause"]


@pytest.mark.parametrize(
    ("act", "wanted"),
    [("start", "running"), ("stop", "stopped"), ("reboot", "running"), ("pause", "paused")],
)
async def test_a_token_switches_its_container(api: Api, act: str, wanted: str):
    made = api.leases.add(fake_leases.make_lease(ALICE))
    api.access.callers[TOKEN] = service.Caller(owner=ALICE, lease_id=made.lease_id)

    reply = await api.client.post(f"/lease/10000/{act}", headers=BEARER)

    assert (reply.status, reply.json()["wanted"]) == (200, wanted)
    assert api.leases.named(act) == [made]


@pytest.mark.parametrize(
    ("units", "shown"), [(2 * 10**14 * 1024, "0.0002"), (2 * 10**14 * 1024 + 1, "0.0002")]
)
async def test_a_paused_lease_tells_what_it_burns_and_until_when(api: Api, units: int, shown: str):
    made = fake_leases.make_lease(ALICE, wanted=power.Wanted.STOPPED)
    found = meter.of(made)
    assert found is not None
    paused = found.paused(units, fake_leases.NOW, timedelta(days=30))
    api.leases.add(made.evolve(**paused.facts))
    api.access.callers[TOKEN] = service.Caller(owner=ALICE)

    item = (await api.client.get("/lease/10000", headers=BEARER)).json()

    assert item["wanted"] == "paused"
    assert item["paused"] == {
        "since": "2026-11-21T12:00:00Z",
        "until": "2026-12-21T12:00:00Z",
        "minuteUsd": shown,
        "because": None,
    }


@pytest.mark.parametrize(
    ("refusal", "status", "retry_after"),
    [
        (power.PausingOff(), 409, None),
        (power.NoRoomToWake(), 503, "60"),
        (power.TooManyWakes(1200), 429, "1200"),
    ],
)
async def test_what_cannot_be_paused_or_woken_costs_nothing(
    api: Api, refusal: errors.Pve402Error, status: int, retry_after: str | None
):
    api.leases.add(fake_leases.make_lease(ALICE))
    api.access.callers[TOKEN] = service.Caller(owner=ALICE)
    api.leases.failures["check_pause"] = refusal

    reply = await api.client.post("/lease/10000/pause", headers=BEARER)

    assert (reply.status, reply.code) == (status, refusal.code)
    assert reply.headers.get("retry-after") == retry_after
    assert api.leases.named("pause") == []


@pytest.mark.parametrize("act", ACTS)
async def test_a_token_without_the_scope_switches_nothing(api: Api, act: str):
    made = api.leases.add(fake_leases.make_lease(ALICE))
    narrow = service.Caller(
        owner=ALICE, lease_id=made.lease_id, scope=frozenset({"read", "exec", "end", "renew"})
    )
    api.access.callers[TOKEN] = narrow

    reply = await api.client.post(f"/lease/10000/{act}", headers=BEARER)

    assert (reply.status, reply.code) == (403, "not_allowed")
    assert api.leases.named(act) == []


@pytest.mark.parametrize("act", ACTS)
async def test_another_tenants_container_is_not_found(api: Api, act: str):
    api.leases.add(fake_leases.make_lease(BOB))
    api.access.callers[TOKEN] = service.Caller(owner=ALICE)

    reply = await api.client.post(f"/lease/10000/{act}", headers=BEARER)

    assert (reply.status, reply.code) == (404, "lease_not_found")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"status": lease.LeaseStatus.ENDED}, "lease_over"),
        ({"status": lease.LeaseStatus.DELETING}, "lease_over"),
        ({"status": lease.LeaseStatus.STOPPED}, "lease_not_ready"),
        ({"status": lease.LeaseStatus.STOPPING}, "lease_not_ready"),
        ({"status": lease.LeaseStatus.SETTLING}, "lease_not_ready"),
        ({"hold_order_id": "o1"}, "lease_busy"),
    ],
)
async def test_a_refusal_costs_no_fee(api: Api, changes: dict[str, object], code: str):
    api.leases.add(fake_leases.make_lease(ALICE, **changes))

    unpaid = await api.client.post("/lease/10000/stop")
    signed = wallets.payment_headers(wallets.ALICE, unpaid)

    reply = await api.client.post("/lease/10000/stop", headers=signed)

    assert (reply.status, reply.code) == (409, code)
    assert api.leases.named("pay_fee") == []


async def test_what_the_switch_refuses_is_told(api: Api):
    made = api.leases.add(fake_leases.make_lease(ALICE))
    api.access.callers[TOKEN] = service.Caller(owner=ALICE, lease_id=made.lease_id)
    api.leases.failures["stop"] = errors.LeaseBusy()

    reply = await api.client.post("/lease/10000/stop", headers=BEARER)

    assert (reply.status, reply.code) == (409, "lease_busy")
    assert reply.headers["retry-after"] == "5"
