"""Signatures as the server makes and reads them, with coincurve and without it, beside eth-keys."""

from __future__ import annotations

import hashlib
from types import ModuleType

import pytest
from eth_keys.main import lazy_key_api as keys
from hypothesis import given, settings
from hypothesis import strategies as st

from pve402.payments import curve, curve_plain

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
DIGEST = b"\x37" * 32


@pytest.mark.parametrize("made_by", [curve, curve_plain])
@settings(max_examples=30)
@given(number=st.integers(1, ORDER - 1), text=st.binary())
def test_signatures_are_those_of_others(made_by: ModuleType, number: int, text: bytes) -> None:
    secret, digest = number.to_bytes(32, "big"), hashlib.sha256(text).digest()
    theirs = keys.PrivateKey(secret)

    key = made_by.Key(secret)

    assert key.public_key == b"\x04" + theirs.public_key.to_bytes()
    assert key.sign(digest) == theirs.sign_msg_hash(digest).to_bytes()
    assert made_by.recover(digest, key.sign(digest)) == key.public_key


@settings(max_examples=200)
@given(
    digest=st.binary(min_size=32, max_size=32),
    r=st.integers(0, 2**256 - 1) | st.integers(0, 20),
    s=st.integers(0, 2**256 - 1) | st.integers(0, 20),
    parity=st.integers(0, 1),
)
def test_both_recover_the_same_from_anything(digest: bytes, r: int, s: int, parity: int) -> None:
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])

    assert curve_plain.recover(digest, signature) == curve.recover(digest, signature)


@pytest.mark.parametrize(
    "signature",
    [
        bytes(65),
        b"\xff" * 64 + b"\0",
        bytes(32) + (1).to_bytes(32, "big") + b"\0",
        (1).to_bytes(32, "big") + bytes(32) + b"\1",
        (5).to_bytes(32, "big") + (1).to_bytes(32, "big") + b"\0",
        ORDER.to_bytes(32, "big") * 2 + b"\1",
    ],
)
def test_both_know_what_nobody_signed(signature: bytes) -> None:
    assert curve.recover(DIGEST, signature) is None
    assert curve_plain.recover(DIGEST, signature) is None


@pytest.mark.parametrize(
    "secret", [b"", bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32, b"\1" * 33]
)
def test_both_refuse_what_is_no_key(secret: bytes) -> None:
    for made_by in (curve, curve_plain):
        with pytest.raises(ValueError, match=r"scalar|curve"):
            made_by.Key(secret)
