"""The route that shows what a container used."""

from typing import Any

import pytest
from tests.support import fake_leases, wallets
from tests.support.api_fixtures import NETWORK, Api

from pve402.domain import errors
from pve402.leases import service
from pve402.proxmox import past_figures

ALICE = f"{NETWORK}:{wallets.ALICE.address.lower()}"
TOKEN = "token-0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
BEGAN = int(fake_leases.NOW.timestamp())
FOUND = past_figures.Figures(
    began_at=BEGAN,
    ended_at=BEGAN + 60,
    cpu_fraction=0.25,
    memory_used=2**20,
    memory_total=2**29,
    disk_used=None,
    disk_total=None,
    disk_read_rate=1,
    disk_write_rate=2,
    network_in_rate=3,
    network_out_rate=4,
)


def holder(api: Api, *, scope: str = "*", **changes: Any) -> None:
    made = api.leases.add(fake_leases.make_lease(ALICE, **changes))
    api.leases.history.found = [FOUND]
    api.access.callers[TOKEN] = service.Caller(
        owner=ALICE, lease_id=made.lease_id, scope=frozenset({scope})
    )


async def test_a_token_shows_what_was_used(api: Api):
    holder(api, scope="read")

    reply = await api.client.get("/lease/10000/usage?timeframe=day", headers=BEARER)

    said = reply.json()
    assert (reply.status, said["ctid"], said["timeframe"]) == (200, "10000", "day")
    assert api.leases.named("usage") == ["day"]
    assert said["points"] == [
        {
            "beganAt": "2026-11-21T12:00:00Z",
            "endedAt": "2026-11-21T12:01:00Z",
            "cpuFraction": 0.25,
            "memoryBytes": 2**20,
            "memoryTotalBytes": 2**29,
            "diskBytes": None,
            "diskTotalBytes": None,
            "diskReadBytesPerSecond": 1,
            "diskWriteBytesPerSecond": 2,
            "networkInBytesPerSecond": 3,
            "networkOutBytesPerSecond": 4,
        }
    ]


async def test_it_is_the_last_hour_unless_told_otherwise(api: Api):
    holder(api)

    reply = await api.client.get("/lease/10000/usage", headers=BEARER)

    assert (reply.json()["timeframe"], api.leases.named("usage")) == ("hour", ["hour"])


async def test_too_much_is_cut_to_the_newest(api: Api):
    holder(api)
    api.leases.history.found = [FOUND] * 1600

    reply = await api.client.get("/lease/10000/usage", headers=BEARER)

    assert (reply.status, len(reply.json()["points"])) == (200, 500)


@pytest.mark.parametrize("query", ["year", "Hour", "hour%00", "x" * 1000, "hour&timeframe=day"])
async def test_another_time_frame_is_refused(api: Api, query: str):
    holder(api)

    reply = await api.client.get(f"/lease/10000/usage?timeframe={query}", headers=BEARER)

    assert (reply.status, reply.code, api.leases.named("usage")) == (422, "invalid_request", [])


async def test_without_a_token_it_costs_the_fee(api: Api):
    holder(api)

    reply = await api.client.get("/lease/10000/usage")

    assert (reply.status, api.leases.named("usage")) == (402, [])


async def test_a_token_for_other_things_shows_nothing(api: Api):
    holder(api, scope="power")

    reply = await api.client.get("/lease/10000/usage", headers=BEARER)

    assert (reply.status, reply.code) == (403, "not_allowed")


async def test_another_tenant_does_not_learn_of_the_lease(api: Api):
    holder(api)
    api.leases.add(fake_leases.make_lease(f"{NETWORK}:0x{'b' * 40}", vmid=10001))

    reply = await api.client.get("/lease/10001/usage", headers=BEARER)

    assert (reply.status, reply.code, api.leases.named("usage")) == (404, "lease_not_found", [])


async def test_machines_that_are_away_are_told(api: Api):
    holder(api)
    api.leases.failures["usage"] = errors.ProxmoxUnavailable()

    reply = await api.client.get("/lease/10000/usage", headers=BEARER)

    assert (reply.status, reply.code) == (503, "proxmox_unavailable")


async def test_nobody_pays_to_hear_that_the_machines_are_away(api: Api):
    holder(api)
    api.leases.failures["usage"] = errors.ProxmoxUnavailable()
    unpaid = await api.client.get("/lease/10000/usage")
    paid = wallets.payment_headers(wallets.ALICE, unpaid)

    refused = await api.client.get("/lease/10000/usage", headers=paid)
    assert (refused.status, api.leases.named("pay_fee")) == (503, [])

    del api.leases.failures["usage"]
    reply = await api.client.get("/lease/10000/usage", headers=paid)
    assert (reply.status, len(api.leases.named("pay_fee"))) == (200, 1)
