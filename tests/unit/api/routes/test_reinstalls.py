"""The route of a reinstallation: who may call it, and what is refused before a fee."""

from typing import Any

import pytest
from tests.support import fake_leases, wallets
from tests.support.api_fixtures import NETWORK, Api

from pve402.domain import errors, lease, reinstalls, snapshots
from pve402.leases import service

ALICE = f"{NETWORK}:{wallets.ALICE.address.lower()}"
TOKEN = "token-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATH = "/lease/10000/reinstall"
WISH = {"password": "correct horse", "env": {"A": "1"}, "userData": "true"}


def holder(api: Api, scope: str = "reinstall") -> lease.Lease:
    made = api.leases.add(fake_leases.make_lease(ALICE))
    api.access.callers[TOKEN] = service.Caller(
        owner=ALICE, lease_id=made.lease_id, scope=frozenset({scope})
    )
    return made


def done(api: Api) -> list[str]:
    """What was checked, charged and reinstalled, in order."""
    counted = {"pay_fee", "check_reinstall", "reinstall"}
    return [name for name, _ in api.leases.calls if name in counted]


async def test_a_container_is_reinstalled_and_shown(api: Api):
    holder(api)

    before = await api.client.get(PATH, headers=BEARER)
    made = await api.client.post(PATH, {**WISH, "template": "debian"}, headers=BEARER)
    shown = await api.client.get(PATH, headers=BEARER)

    assert [reply.status for reply in (before, made, shown)] == [200] * 3
    assert (before.json()["state"], before.json()["askedAt"]) == ("none", None)
    assert made.json() == shown.json()
    assert (made.json()["state"], made.json()["template"]) == ("done", "debian")
    wish = reinstalls.Wish(
        template="debian", password="correct horse", env={"A": "1"}, user_data="true"
    )
    assert api.leases.named("reinstall") == [wish]
    assert "correct horse" not in str(made.json())


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_token_of_another_scope_is_refused(api: Api, method: str):
    holder(api, "change")

    reply = await api.client.request(method, PATH, WISH, headers=BEARER)

    assert (reply.status, reply.code) == (403, "not_allowed")
    assert done(api) == []


@pytest.mark.parametrize(
    "sent",
    [
        *({"password": "x"}, {"sshPublicKeys": ["nonsense"]}, {"env": {"1A": "x"}}, []),
        *({"userData": ""}, {"extra": 1}, {"deleteSnapshots": "perhaps"}, {"env": []}),
    ],
)
async def test_what_cannot_be_had_is_refused_and_costs_nothing(api: Api, sent: Any):
    api.leases.add(fake_leases.make_lease(ALICE))
    signed = wallets.payment_headers(wallets.ALICE, await api.client.post(PATH, WISH))

    reply = await api.client.post(PATH, sent, headers=signed)

    assert reply.status == 422, reply.json()
    assert not {"pay_fee", "reinstall"} & set(done(api))


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (reinstalls.HasSnapshots(), 409),
        (reinstalls.AddressNotKept(), 409),
        (reinstalls.ReinstallFailed(), 502),
        (snapshots.ContainerLocked(), 409),
        (errors.CredentialRequired(), 422),
        (errors.LeaseBusy(), 409),
    ],
)
async def test_a_refusal_has_its_code_and_costs_no_fee(
    api: Api, refusal: errors.Pve402Error, status: int
):
    api.leases.add(fake_leases.make_lease(ALICE))
    api.leases.reinstalls.refusal = refusal
    signed = wallets.payment_headers(wallets.ALICE, await api.client.post(PATH, WISH))

    reply = await api.client.post(PATH, WISH, headers=signed)

    assert (reply.status, reply.code) == (status, refusal.code)
    assert "pay_fee" not in done(api)


async def test_a_fee_is_paid_before_anything_is_destroyed(api: Api):
    api.leases.add(fake_leases.make_lease(ALICE))
    signed = wallets.payment_headers(wallets.ALICE, await api.client.post(PATH, WISH))

    reply = await api.client.post(PATH, WISH, headers=signed)

    assert reply.status == 200
    assert done(api) == ["check_reinstall", "pay_fee", "reinstall"]
