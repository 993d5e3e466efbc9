"""Leases whose tokens are kept: what enters the file, who gets a token, and how they are named."""

import stat
from pathlib import Path
from typing import Any

import pytest
from tests.support import tenant_service
from tests.support.tenant_service import ITEM, LEASE, LEASE_ID, refusal, says

from pve402 import client, schemas
from pve402.client import held, names

URL = "https://rent.example.com"
OTHER_ID = "l" + "1" * 25


def one(lease_id: str = LEASE_ID, ctid: str = "10000", hostname: str = "web") -> held.Held:
    return held.Held(lease_id=lease_id, ctid=ctid, hostname=hostname, token=f"token-{lease_id}")


@pytest.fixture
def kept(tmp_path: Path) -> held.Leases:
    return held.Leases(tmp_path / "leases")


def test_a_token_is_kept_for_its_origin_alone(kept: held.Leases, tmp_path: Path):
    kept.keep(URL, one())

    assert kept.of(URL.upper() + ":443/") == [one()]
    for other in ("http://rent.example.com", f"{URL}:8443", "http://rent.example.com:443"):
        assert kept.of(other) == []
    assert stat.S_IMODE((tmp_path / "leases").stat().st_mode) == 0o600
    assert one().token not in repr(one())


def test_the_newest_is_first_and_what_is_forgotten_is_gone(kept: held.Leases):
    kept.keep(URL, one())
    kept.keep(URL, one(OTHER_ID))

    assert [lease.lease_id for lease in kept.of(URL)] == [OTHER_ID, LEASE_ID]
    kept.forget(URL, OTHER_ID)
    assert kept.of(URL) == [one()]


@pytest.mark.parametrize(
    "changes",
    [
        {"leaseId": "../../x"},
        {"leaseId": "l" + "0" * 25 + "\n"},
        {"ctid": "1;rm"},
        {"hostname": "a\x1b[31m"},
        {"hostname": "-oProxyCommand=x"},
        {"accessToken": "a b"},
        {"accessToken": "x" * 300},
        {"accessToken": None},
    ],
)
def test_a_services_odd_words_enter_no_file(changes: dict[str, Any]):
    answer = schemas.LeaseAnswer.model_validate({**LEASE, **changes})

    assert held.Held.of(answer, answer.access_token) is None


@pytest.mark.parametrize("name", ["web", "WEB", "10000", LEASE_ID])
async def test_a_held_lease_is_named_without_asking_and_its_token_is_used(name: str):
    async with (
        tenant_service.serving(says(ITEM)) as service,
        client.Client(service.url, held=[one()]) as tenant,
    ):
        await tenant.show(await names.resolve(tenant, name))

    (asked,) = service.asked
    assert (asked.path, asked.token) == (f"/lease/{LEASE_ID}", one().token)


@pytest.mark.parametrize("over", [refusal(410, "lease_over", "over"), {**ITEM, "status": "ended"}])
async def test_a_name_goes_to_the_one_lease_that_is_not_over(over: Any):
    async def answer(request: Any) -> Any:
        is_old = request.path.endswith(OTHER_ID)
        return (
            over
            if is_old and not isinstance(over, dict)
            else await says(over if is_old else ITEM)(request)
        )

    async with (
        tenant_service.serving(answer) as service,
        client.Client(service.url, held=[one(), one(OTHER_ID)]) as tenant,
    ):
        assert await names.resolve(tenant, "web") == LEASE_ID


async def test_a_name_of_two_leases_is_refused_with_the_candidates():
    async def answer(request: Any) -> Any:
        return await says({**ITEM, "leaseId": request.path.rpartition("/")[2]})(request)

    async with (
        tenant_service.serving(answer) as service,
        client.Client(service.url, held=[one(), one(OTHER_ID)]) as tenant,
    ):
        with pytest.raises(client.NameAmbiguous) as refused:
            await names.resolve(tenant, "web")

    assert LEASE_ID in str(refused.value)
    assert OTHER_ID in str(refused.value)


async def test_a_kept_token_that_is_refused_is_not_replaced_without_a_wallet():
    async with tenant_service.serving(says(ITEM)) as service:
        service.revoked.add(one().token)
        async with client.Client(service.url, held=[one()]) as tenant:
            with pytest.raises(client.Refused, match="token_revoked"):
                await tenant.show(LEASE_ID)

    assert len(service.asked) == 1


def test_a_file_that_is_none_says_so(tmp_path: Path):
    (tmp_path / "leases").write_text("no database" * 100)

    with pytest.raises(client.NotesUnusable, match="leases"):
        held.Leases(tmp_path / "leases").of(URL)
