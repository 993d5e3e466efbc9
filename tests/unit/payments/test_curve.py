"""Both implementations of the curve: the C library's and the one for where it has no wheel."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pve402.payments import curve_native, curve_plain

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
DIGEST = b"\x37" * 32


@settings(max_examples=60, deadline=None)
@given(number=st.integers(1, ORDER - 1), text=st.binary())
def test_both_sign_and_recover_the_same(number: int, text: bytes) -> None:
    secret, digest = number.to_bytes(32, "big"), hashlib.sha256(text).digest()
    native, plain = curve_native.Key(secret), curve_plain.Key(secret)

    signature = native.sign(digest)

    assert (plain.public_key, plain.sign(digest)) == (native.public_key, signature)
    assert curve_plain.recover(digest, signature) == native.public_key
    assert curve_native.recover(digest, signature) == native.public_key


@settings(max_examples=200, deadline=None)
@given(
    digest=st.binary(min_size=32, max_size=32),
    r=st.integers(0, 2**256 - 1) | st.integers(0, 20),
    s=st.integers(0, 2**256 - 1) | st.integers(0, 20),
    parity=st.integers(0, 1),
)
def test_both_recover_the_same_from_anything(digest: bytes, r: int, s: int, parity: int) -> None:
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([parity])

    assert curve_plain.recover(digest, signature) == curve_native.recover(digest, signature)


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
    assert curve_native.recover(DIGEST, signature) is None
    assert curve_plain.recover(DIGEST, signature) is None


@pytest.mark.parametrize(
    "secret", [b"", bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32, b"\1" * 33]
)
def test_both_refuse_what_is_no_key(secret: bytes) -> None:
    for curve in (curve_native, curve_plain):
        with pytest.raises(ValueError, match=r"scalar|curve"):
            curve.Key(secret)
