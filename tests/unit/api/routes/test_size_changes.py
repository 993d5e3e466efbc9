"""The route of a container's size: who may call it, and what is refused before a fee."""

from typing import Any

import pytest
from tests.support import fake_leases, wallets
from tests.support.api_fixtures import NETWORK, Api

from pve402.domain import errors, lease, size_changes, snapshots
from pve402.leases import service

ALICE = f"{NETWORK}:{wallets.ALICE.address.lower()}"
TOKEN = "token-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATH = "/lease/10000/change"


def holder(api: Api, scope: str = "change") -> lease.Lease:
    made = api.leases.add(fake_leases.make_lease(ALICE))
    api.access.callers[TOKEN] = service.Caller(
        owner=ALICE, lease_id=made.lease_id, scope=frozenset({scope})
    )
    return made


def done(api: Api) -> list[str]:
    """What was charged, asked about and changed, in order."""
    counted = {"pay_fee", "quote_change", "change", "show_change"}
    return [name for name, _ in api.leases.calls if name in counted]


async def test_a_size_is_quoted_changed_and_shown(api: Api):
    made = holder(api)

    quoted = await api.client.post(PATH, {"cores": 2, "quote": True}, headers=BEARER)
    changed = await api.client.post(PATH, {"cores": 2, "allowRestart": True}, headers=BEARER)
    shown = await api.client.get(PATH, headers=BEARER)

    size = {"memoryMB": made.size.memory_mb, "diskGB": made.size.disk_gb}
    assert [reply.status for reply in (quoted, changed, shown)] == [200] * 3
    assert (quoted.json()["state"], changed.json()["state"]) == ("quote", "done")
    assert changed.json() == shown.json()
    after = changed.json()["after"]
    assert {name: after[name] for name in ("cores", *size)} == {"cores": 2, **size}
    assert float(after["minuteUsd"]) > float(changed.json()["before"]["minuteUsd"])
    wish = size_changes.Wish(cores=2, may_restart=True)
    assert api.leases.named("change") == [wish]


async def test_a_leases_token_does_not_double_the_limits_of_its_wallet(api: Api):
    """They hold for all chains together, as when the wallet itself asks."""
    holder(api)

    await api.client.post(PATH, {"cores": 2}, headers=BEARER)

    assert set(api.leases.named("quote_change")) == {True}


async def test_a_lease_that_was_never_changed_says_its_size(api: Api):
    made = holder(api)

    shown = await api.client.get(PATH, headers=BEARER)

    answer = shown.json()
    assert (answer["state"], answer["problem"]) == ("unchanged", None)
    assert answer["before"] == answer["after"]
    assert answer["after"]["cores"] == made.size.cores


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_token_of_another_scope_is_refused(api: Api, method: str):
    holder(api, "power")

    reply = await api.client.request(method, PATH, {"cores": 2}, headers=BEARER)

    assert (reply.status, reply.code) == (403, "not_allowed")
    assert done(api) == []


@pytest.mark.parametrize(
    "sent",
    [
        *({}, {"cores": None}, {"quote": True}, {"cores": True}, {"cores": 1.5}),
        *({"cores": 10**30}, {"cores": 0}, {"cores": -1}, {"memoryMB": 1}, {"diskGB": 10**9}),
        *({"cores": 2, "extra": 1}, [], "cores", {"cores": 2, "allowRestart": "perhaps"}),
    ],
)
async def test_what_is_no_size_is_refused_and_costs_nothing(api: Api, sent: Any):
    api.leases.add(fake_leases.make_lease(ALICE))
    signed = wallets.payment_headers(wallets.ALICE, await api.client.post(PATH, {"cores": 2}))

    reply = await api.client.post(PATH, sent, headers=signed)

    assert reply.status == 422, reply.json()
    assert "pay_fee" not in done(api)
    assert "change" not in done(api)


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (size_changes.NoLongerSold(), 409),
        (size_changes.TooLittleTimeLeft(), 409),
        (size_changes.NeedsRestart(), 409),
        (size_changes.ChangeFailed(), 502),
        (snapshots.ContainerLocked(), 409),
        (errors.NoCapacity(), 409),
        (errors.LimitReached(), 429),
        (errors.PaidTooFarAhead(), 409),
        (errors.LeaseBusy(), 409),
    ],
)
async def test_a_refusal_has_its_code_and_costs_no_fee(
    api: Api, refusal: errors.Pve402Error, status: int
):
    api.leases.add(fake_leases.make_lease(ALICE))
    api.leases.size_changes.refusal = refusal
    signed = wallets.payment_headers(wallets.ALICE, await api.client.post(PATH, {"cores": 2}))

    reply = await api.client.post(PATH, {"cores": 2}, headers=signed)

    assert (reply.status, reply.code) == (status, refusal.code)
    assert "pay_fee" not in done(api)


async def test_a_fee_is_paid_before_anything_is_changed(api: Api):
    api.leases.add(fake_leases.make_lease(ALICE))
    signed = wallets.payment_headers(wallets.ALICE, await api.client.post(PATH, {"cores": 2}))

    reply = await api.client.post(PATH, {"cores": 2}, headers=signed)

    assert reply.status == 200
    assert done(api)[:2] == ["quote_change", "pay_fee"]
    assert "change" in done(api)
