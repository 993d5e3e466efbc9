"""Tokens and wallet signatures: who may manage what, and for how long."""

from datetime import timedelta
from unittest.mock import AsyncMock

import pytest
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from tests.support.installation import NETWORK, Installation, owner_of

from pve402.domain import errors, lease
from pve402.leases.access import IssuedToken
from pve402.storage import lease_rows


async def test_a_signature_gives_a_token_for_all_leases_of_the_wallet(
    installation: Installation,
) -> None:
    tenant = installation.tenant()
    row = (await installation.lease(tenant)).lease

    issued = await sign_in(installation, tenant)
    caller = await installation.parts.access.authenticate(issued.token)

    assert caller.owner == owner_of(tenant)
    assert issued.expires_at is not None
    assert (await installation.leases.find(row.ctid, caller)).lease_id == row.lease_id


async def test_a_wallet_without_leases_is_signed_in_for_minutes(
    installation: Installation,
) -> None:
    stranger, tenant = installation.tenant(), installation.tenant()
    await installation.lease(tenant)
    soon = await installation.parts.db.time() + timedelta(hours=1)

    ends = [(await sign_in(installation, who)).expires_at for who in (stranger, tenant)]

    assert [end is not None and end > soon for end in ends] == [False, True]


async def test_a_new_lease_token_revokes_the_old_one(installation: Installation) -> None:
    tenant = installation.tenant()
    answer = await installation.lease(tenant)

    issued = await sign_in(installation, tenant, lease_id=answer.lease.lease_id)

    found = await installation.parts.access.authenticate(issued.token)
    assert found.lease_id == answer.lease.lease_id
    with pytest.raises(errors.Unauthenticated):
        await installation.parts.access.authenticate(answer.access_token or "")


async def test_a_narrow_token_leaves_the_old_one_and_may_less(installation: Installation) -> None:
    tenant = installation.tenant()
    answer = await installation.lease(tenant)

    issued = await sign_in(installation, tenant, lease_id=answer.lease.lease_id, scope=["exec"])

    narrow = await installation.parts.access.authenticate(issued.token)
    full = await installation.parts.access.authenticate(answer.access_token or "")
    assert narrow.may("exec")
    assert not narrow.may("renew")
    assert full.may("renew")


async def test_a_token_ends_at_its_time(installation: Installation) -> None:
    tenant = installation.tenant()
    answer = await installation.lease(tenant)
    until = await installation.parts.db.time() + timedelta(minutes=5)
    issued = await sign_in(installation, tenant, lease_id=answer.lease.lease_id, expires_at=until)

    installation.pass_time(301)

    with pytest.raises(errors.Unauthenticated):
        await installation.parts.access.authenticate(issued.token)


async def test_a_challenge_is_good_once(installation: Installation) -> None:
    tenant = installation.tenant()
    message, signature = await signed_challenge(installation, tenant)
    access = installation.parts.access
    await access.issue_token(message, signature, lease_id=None, scope=None, expires_at=None)

    with pytest.raises(errors.Unauthenticated):
        await access.issue_token(message, signature, lease_id=None, scope=None, expires_at=None)


async def test_another_wallet_gets_no_token_of_a_lease(installation: Installation) -> None:
    answer = await installation.lease()

    with pytest.raises(errors.LeaseNotFound):
        await sign_in(installation, installation.tenant(), lease_id=answer.lease.lease_id)


async def test_a_signature_of_somebody_else_proves_nothing(installation: Installation) -> None:
    owner, thief = installation.tenant(), installation.tenant()
    challenge = await installation.parts.access.new_challenge(owner.address, NETWORK)

    with pytest.raises(errors.Unauthenticated):
        await installation.parts.access.issue_token(
            challenge.message,
            signature_of(thief, challenge.message),
            lease_id=None,
            scope=None,
            expires_at=None,
        )


async def test_a_token_of_a_lease_opens_no_other_lease_of_the_owner(
    installation: Installation,
) -> None:
    tenant = installation.tenant()
    one, other = await installation.lease(tenant), await installation.lease(tenant)

    caller = await installation.parts.access.authenticate(one.access_token or "")

    with pytest.raises(errors.LeaseNotFound):
        await installation.leases.find(other.lease.ctid, caller)
    (listed,) = await installation.leases.list_leases(caller)
    assert listed.lease.lease_id == one.lease.lease_id


async def test_a_token_of_a_lease_finds_it_behind_however_many_newer_ones(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await installation.lease()
    caller = await installation.parts.access.authenticate(answer.access_token or "")
    monkeypatch.setattr(lease_rows, "list_by_owners", AsyncMock(return_value=[]))

    for include_over in (False, True):
        (listed,) = await installation.leases.list_leases(caller, include_over=include_over)
        assert listed.lease.lease_id == answer.lease.lease_id


async def test_a_revoked_token_is_gone(installation: Installation) -> None:
    answer = await installation.lease()
    await installation.parts.access.revoke(answer.access_token or "")

    with pytest.raises(errors.Unauthenticated):
        await installation.parts.access.authenticate(answer.access_token or "")


@pytest.mark.parametrize("act", ["authenticate", "revoke"])
@pytest.mark.parametrize("kind", ["with the lease", "signed for", "narrowed"])
@pytest.mark.parametrize("end", ["ended", "expired"])
async def test_the_token_of_a_lease_that_is_over_is_told_so(
    installation: Installation, end: str, kind: str, act: str
) -> None:
    tenant = installation.tenant()
    answer = await installation.lease(tenant)
    token = answer.access_token or ""
    if kind != "with the lease":
        scope = frozenset({"read"}) if kind == "narrowed" else None
        issued = await sign_in(installation, tenant, lease_id=answer.lease.lease_id, scope=scope)
        token = issued.token
    if end == "ended":
        await installation.leases.end(answer.lease)
    else:
        installation.pass_time(3601)
        await installation.until_status(lease.LeaseStatus.STOPPED)
        installation.pass_time(24 * 3600)
    await installation.until_status(lease.LeaseStatus.ENDED)

    with pytest.raises(errors.LeaseEnded):
        await getattr(installation.parts.access, act)(token)
    with pytest.raises(errors.Unauthenticated):
        await getattr(installation.parts.access, act)(token + "x")


async def test_no_token_is_given_for_a_lease_that_is_over(installation: Installation) -> None:
    tenant = installation.tenant()
    row = (await installation.lease(tenant)).lease
    await installation.leases.end(row)
    await installation.until_status(lease.LeaseStatus.ENDED)

    with pytest.raises(errors.LeaseOver):
        await sign_in(installation, tenant, lease_id=row.lease_id)


async def sign_in(
    installation: Installation, tenant: LocalAccount, **wishes: object
) -> IssuedToken:
    """Trade a fresh signature for a token."""
    message, signature = await signed_challenge(installation, tenant)
    chosen = {"lease_id": None, "scope": None, "expires_at": None, **wishes}
    return await installation.parts.access.issue_token(message, signature, **chosen)  # type: ignore[arg-type]


async def signed_challenge(installation: Installation, tenant: LocalAccount) -> tuple[str, str]:
    challenge = await installation.parts.access.new_challenge(tenant.address, None)
    return challenge.message, signature_of(tenant, challenge.message)


def signature_of(tenant: LocalAccount, message: str) -> str:
    signed = tenant.sign_message(encode_defunct(text=message))
    return "0x" + bytes(signed.signature).hex()
