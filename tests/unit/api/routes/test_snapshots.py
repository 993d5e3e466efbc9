"""The routes of a container's snapshots: who may call them, and what is refused before a fee."""

import pytest
from tests.support import fake_leases, wallets
from tests.support.api_fixtures import NETWORK, Api

from pve402.domain import errors, lease, snapshots
from pve402.leases import service
from pve402.proxmox import errors as pve

ALICE = f"{NETWORK}:{wallets.ALICE.address.lower()}"
BOB = f"{NETWORK}:{wallets.BOB.address.lower()}"
TOKEN = "token-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PATH = "/lease/10000/snapshots"
CALLS = [
    ("GET", PATH, b""),
    ("POST", PATH, {"name": "before"}),
    ("DELETE", f"{PATH}/before", b""),
    ("POST", f"{PATH}/before/rollback", b""),
]


def holder(api: Api, scope: str = "snapshots") -> lease.Lease:
    made = api.leases.add(fake_leases.make_lease(ALICE))
    api.access.callers[TOKEN] = service.Caller(
        owner=ALICE, lease_id=made.lease_id, scope=frozenset({scope})
    )
    return made


def done(api: Api) -> list[str]:
    """What was charged and changed, in order."""
    changing = {"pay_fee", "take", "roll_back", "delete"}
    return [name for name, _ in api.leases.calls if name in changing]


async def test_a_token_takes_lists_rolls_back_and_deletes(api: Api):
    holder(api)

    taken = await api.client.post(PATH, {"name": "before"}, headers=BEARER)
    shown = await api.client.get(PATH, headers=BEARER)
    back = await api.client.post(f"{PATH}/before/rollback", headers=BEARER)
    left = await api.client.request("DELETE", f"{PATH}/before", headers=BEARER)

    item = {"name": "before", "state": "there", "createdAt": "2026-11-21T12:00:00Z"}
    item |= {"problem": None, "minuteUsd": "0"}
    assert [reply.status for reply in (taken, shown, back, left)] == [200] * 4
    assert taken.json() == back.json() == item
    assert shown.json() == {
        "snapshots": [item],
        "atMost": 3,
        "possible": True,
        "nextMinuteUsd": "0",
        "rollbackStops": True,
    }
    assert left.json()["snapshots"] == []
    assert done(api) == ["take", "roll_back", "delete"]


@pytest.mark.parametrize(("method", "path", "sent"), CALLS)
async def test_other_tokens_and_other_tenants_do_nothing(
    api: Api, method: str, path: str, sent: object
):
    holder(api, scope="power")
    narrow = await api.client.request(method, path, sent, headers=BEARER)
    api.access.callers[TOKEN] = service.Caller(owner=BOB)
    foreign = await api.client.request(method, path, sent, headers=BEARER)
    unpaid = await api.client.request(method, path, sent)

    assert (narrow.status, narrow.code) == (403, "not_allowed")
    assert (foreign.status, foreign.code) == (404, "lease_not_found")
    assert unpaid.status == 402
    assert done(api) == []


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (snapshots.SnapshotsOff(), 409),
        (snapshots.SnapshotsNotPossible(), 409),
        (snapshots.SnapshotExists(), 409),
        (snapshots.ContainerLocked(), 409),
        (snapshots.TooManySnapshots(), 429),
        (snapshots.SnapshotNotFound(), 404),
        (errors.LeaseBusy(), 409),
    ],
)
@pytest.mark.parametrize(("method", "path", "sent"), CALLS[1:])
async def test_a_refusal_costs_no_fee(
    api: Api,
    method: str,
    path: str,
    sent: object,
    refusal: errors.Pve402Error,
    status: int,
):
    api.leases.add(fake_leases.make_lease(ALICE))
    api.leases.snapshots.refusal = refusal
    signed = wallets.payment_headers(wallets.ALICE, await api.client.request(method, path, sent))

    reply = await api.client.request(method, path, sent, headers=signed)

    assert (reply.status, reply.code) == (status, refusal.code)
    assert api.leases.named("pay_fee") == []


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (pve.Unreachable(), 503, "proxmox_unavailable"),
        (pve.UnexpectedAnswer(), 503, "proxmox_unavailable"),
        (pve.PermissionDenied("secret"), 503, "proxmox_unavailable"),
        (errors.LeaseNotReady(), 409, "lease_not_ready"),
    ],
)
async def test_a_list_that_cannot_be_read_costs_no_fee(
    api: Api, failure: Exception, status: int, code: str
):
    api.leases.add(fake_leases.make_lease(ALICE))
    api.leases.failures["snapshots"] = failure
    signed = wallets.payment_headers(wallets.ALICE, await api.client.get(PATH))

    reply = await api.client.get(PATH, headers=signed)

    assert (reply.status, reply.code) == (status, code)
    assert "secret" not in str(reply.json())
    assert api.leases.named("pay_fee") == []


async def test_a_list_is_paid_for_once_it_is_read(api: Api):
    api.leases.add(fake_leases.make_lease(ALICE))
    signed = wallets.payment_headers(wallets.ALICE, await api.client.get(PATH))

    reply = await api.client.get(PATH, headers=signed)

    names = [name for name, _ in api.leases.calls if name in {"pay_fee", "snapshots"}]
    assert (reply.status, names) == (200, ["snapshots", "pay_fee"])


async def test_a_fee_is_paid_before_anything_is_done(api: Api):
    api.leases.add(fake_leases.make_lease(ALICE))
    unpaid = await api.client.post(PATH, {"name": "before"})
    signed = wallets.payment_headers(wallets.ALICE, unpaid)

    reply = await api.client.post(PATH, {"name": "before"}, headers=signed)

    assert reply.status == 200
    assert done(api) == ["pay_fee", "take"]


@pytest.mark.parametrize(
    "sent",
    [
        *(None, {}, {"name": None}, {"name": 7}, {"name": ["before"]}, [], "before"),
        *({"name": ""}, {"name": "current"}, {"name": "a" * 41}, {"name": "../x"}),
        *({"name": "before", "vmid": 7}, {"name": "be\x00fore"}),
    ],
)
async def test_what_is_no_name_is_refused_without_a_fee(api: Api, sent: object):
    api.leases.add(fake_leases.make_lease(ALICE))
    unpaid = await api.client.post(PATH, sent)
    signed = wallets.payment_headers(wallets.ALICE, unpaid)

    reply = await api.client.post(PATH, sent, headers=signed)

    assert reply.status in {400, 422}
    assert done(api) == []


@pytest.mark.parametrize(
    "name", ["1st", "%2e%2e", "a%2fb", "a%00b", "current", "b" * 41, "%F0%9F%90%B8"]
)
@pytest.mark.parametrize(("method", "rest"), [("DELETE", ""), ("POST", "/rollback")])
async def test_a_path_with_no_name_changes_nothing(api: Api, method: str, rest: str, name: str):
    holder(api)

    reply = await api.client.request(method, f"{PATH}/{name}{rest}", headers=BEARER)

    assert reply.status in {404, 405, 422}
    assert done(api) == []


async def test_what_proxmox_could_not_do_is_told(api: Api):
    holder(api)
    api.leases.failures["take"] = snapshots.SnapshotFailed()

    reply = await api.client.post(PATH, {"name": "before"}, headers=BEARER)

    assert (reply.status, reply.code) == (502, "snapshot_failed")
