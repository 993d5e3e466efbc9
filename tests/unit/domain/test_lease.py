"""The states of a lease and their order; identities that cannot be mistaken for a ctid."""

import itertools
from datetime import UTC, datetime

import pytest

from pve402.domain import account, lease

S = lease.LeaseStatus
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("path"),
    [
        [S.RESERVED, S.CREATING, S.STARTING, S.SETTLING, S.ACTIVE],
        [S.ACTIVE, S.STOPPING, S.STOPPED, S.DELETING, S.ENDED],
        [S.STOPPED, S.STARTING, S.ACTIVE],
        [S.STOPPED, S.STARTING, S.STOPPING],
        [S.ACTIVE, S.STOPPING, S.DELETING, S.ENDED],
        *([before, S.UNWINDING, S.FAILED] for before in (S.RESERVED, S.CREATING, S.SETTLING)),
    ],
)
def test_the_legal_lives(path: list[lease.LeaseStatus]) -> None:
    assert all(lease.may_follow(a, b) for a, b in itertools.pairwise(path))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (S.RESERVED, S.ACTIVE),
        (S.ACTIVE, S.STOPPED),
        (S.ACTIVE, S.DELETING),
        (S.STOPPED, S.ACTIVE),
        (S.ACTIVE, S.UNWINDING),
    ],
)
def test_no_state_is_jumped_over(before: lease.LeaseStatus, after: lease.LeaseStatus) -> None:
    assert not lease.may_follow(before, after)


def test_nothing_follows_the_end() -> None:
    assert not any(lease.may_follow(over, after) for over in lease.OVER for after in S)


def test_an_identity_is_lower_case_begins_with_a_letter_and_is_no_ctid() -> None:
    made = {lease.new_lease_id() for _ in range(200)}

    assert len(made) == 200
    assert all(lease.is_lease_id(text) and text == text.lower() for text in made)
    assert not lease.is_lease_id("10000")
    assert not lease.is_lease_id("l" + "A" * 25)


@pytest.mark.parametrize(
    ("status", "expires_at", "word"),
    [
        (S.STARTING, None, "provisioning"),
        (S.STARTING, NOW, "stopped"),
        (S.SETTLING, None, "provisioning"),
        (S.UNWINDING, None, "failed"),
        (S.ACTIVE, NOW, "active"),
        (S.DELETING, NOW, "ended"),
    ],
)
def test_tenants_see_six_words(status: S, expires_at: datetime | None, word: str) -> None:
    row = lease.Lease(
        lease_id="l",
        status=status,
        node="pve",
        vmid=100,
        owner="o",
        sku="s",
        size=lease.Size(cores=1, memory_mb=1, disk_gb=1),
        hostname="h",
        template="t",
        rates={},
        created_at=NOW,
        expires_at=expires_at,
    )

    assert row.tenant_status == word


ADDRESS = "0x" + "Ab" * 20


def test_an_address_is_the_same_owner_elsewhere_only_by_its_key() -> None:
    here, there = account.account("eip155:1", ADDRESS), account.account("eip155:8453", ADDRESS)

    assert account.is_same(here, there, any_chain=True)
    assert not account.is_same(here, there, any_chain=False)
    assert account.on_networks(here, ["eip155:8453"]) == [here, there]
    assert account.address_of(here) == ADDRESS.lower()


@pytest.mark.parametrize("text", ["", "0x12", "eip155:1:0x12", ADDRESS, "eip155:0:" + ADDRESS])
def test_what_is_no_account_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="account"):
        account.split(text)
