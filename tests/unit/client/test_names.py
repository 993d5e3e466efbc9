"""Host names of leases in place of a ctid or a leaseId."""

from typing import Any

import pytest
from tests.support import tenant_service
from tests.support.tenant_service import ITEM, LEASE_ID

from pve402 import client
from pve402.client import names

OTHER_ID = "l" + "1" * 25
LEASES = [
    {**ITEM, "hostname": "web2"},
    {**ITEM, "hostname": "db", "leaseId": OTHER_ID, "ctid": "10001"},
    {**ITEM, "hostname": "twice", "leaseId": "l" + "2" * 25, "ctid": "10002"},
    {**ITEM, "hostname": "twice", "leaseId": "l" + "3" * 25, "ctid": "", "status": "stopped"},
    {**ITEM, "hostname": "l" + "4" * 24, "leaseId": "l" + "5" * 25, "ctid": "10003"},
]


async def _resolved(name: str, leases: list[dict[str, Any]] = LEASES) -> tuple[str, int]:
    """What a name means, and how many requests it took."""
    async with (
        tenant_service.serving(tenant_service.says(leases)) as service,
        client.Client(service.url, token="t" * 20) as tenant,
    ):
        return await names.resolve(tenant, name), len(service.asked)


@pytest.mark.parametrize("name", ["10000", "99999", "1", LEASE_ID, "l" + "z" * 25])
async def test_a_number_or_an_identity_is_not_looked_up(name: str) -> None:
    assert await _resolved(name) == (name, 0)


@pytest.mark.parametrize(
    ("name", "lease_id"),
    [
        ("web2", LEASE_ID),
        ("WEB2", LEASE_ID),
        ("db", OTHER_ID),
        ("Db", OTHER_ID),
        ("l" + "4" * 24, "l" + "5" * 25),
    ],
)
async def test_a_host_name_means_the_lease_that_has_it(name: str, lease_id: str) -> None:
    assert await _resolved(name) == (lease_id, 1)


@pytest.mark.parametrize("name", ["web", "web22", "10000x", "mail.example.com", "l123"])
async def test_a_host_name_that_no_lease_has_is_said(name: str) -> None:
    with pytest.raises(client.NameUnknown, match=f"host name {name}"):
        await _resolved(name)


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b?c", "\x1b[2J", "x" * 300])
async def test_what_can_be_no_name_is_not_looked_up(name: str) -> None:
    with pytest.raises(client.NameUnknown, match="neither") as caught:
        await _resolved(name)

    assert str(caught.value).isprintable()


async def test_a_host_name_of_several_leases_is_refused_with_all_of_them() -> None:
    with pytest.raises(client.NameAmbiguous) as caught:
        await _resolved("twice")

    told = str(caught.value)
    assert "2 leases" in told
    assert "10002 (l2222222222222222222222222, active)" in told
    assert "no ctid yet (l3333333333333333333333333, stopped)" in told
