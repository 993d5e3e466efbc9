"""What the one secret of the installation is used for, each purpose apart."""

import pytest

from pve402.storage import vault

VAULT = vault.Vault(b"s" * 32)


def test_what_is_sealed_opens_for_its_row_only() -> None:
    sealed = VAULT.seal(b"a password", "o1")

    assert VAULT.unseal(sealed, "o1") == b"a password"
    assert b"a password" not in sealed
    with pytest.raises(vault.SealBrokenError):
        VAULT.unseal(sealed, "o2")
    with pytest.raises(vault.SealBrokenError):
        vault.Vault(b"t" * 32).unseal(sealed, "o1")
    with pytest.raises(vault.SealBrokenError):
        VAULT.unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]), "o1")


def test_nothing_is_sealed_the_same_way_twice() -> None:
    assert VAULT.seal(b"same", "o1") != VAULT.seal(b"same", "o1")


def test_a_lease_token_has_256_bits_and_depends_on_order_and_secret() -> None:
    token = VAULT.lease_token("o1")

    assert len(token.removeprefix("pve402_")) == 64
    assert token == vault.Vault(b"s" * 32).lease_token("o1")
    assert token != VAULT.lease_token("o2")
    assert token != vault.Vault(b"t" * 32).lease_token("o1")


def test_an_idempotency_key_is_scoped_and_its_parts_cannot_run_together() -> None:
    hashes = {
        VAULT.idempotency_hash("ab", "c", "k"),
        VAULT.idempotency_hash("a", "bc", "k"),
        VAULT.idempotency_hash("ab", "", "ck"),
    }

    assert len(hashes) == 3


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32"):
        vault.Vault(b"short")
