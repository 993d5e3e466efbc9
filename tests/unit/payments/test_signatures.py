"""Shapes of signatures: wrapped for wallets that may not be deployed, and compact."""

import pytest
from tests.support import payments as make

from pve402.payments import errors, signatures
from pve402.payments.schemes import known
from pve402.payments.schemes.base import Standing

MAGIC, wrapped = make.ERC6492_MAGIC, make.wrapped


def compact(signature: bytes) -> bytes:
    s = int.from_bytes(signature[32:64], "big") | (signature[64] - 27) << 255
    return signature[:32] + s.to_bytes(32, "big")


@pytest.mark.parametrize("inner", [b"", b"\x01", b"a" * 64, b"b" * 65, b"c" * 600])
@pytest.mark.parametrize("call", [b"", b"create", b"x" * 1000])
def test_the_wrapper_is_taken_off(inner: bytes, call: bytes) -> None:
    assert signatures.unwrap(wrapped(inner, call)) == signatures.Shape(inner=inner, deploys=True)


@pytest.mark.parametrize("plain", [b"", b"\x01", b"a" * 65, MAGIC[:31], MAGIC + b"\x00"])
def test_without_the_magic_word_there_is_no_wrapper(plain: bytes) -> None:
    assert signatures.unwrap(plain) == signatures.Shape(inner=plain, deploys=False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00" * 64,
        b"\x00" * 96,
        b"\xff" * 96,
        wrapped(b"a" * 60)[:-96],
        b"\x00" * 64 + (96).to_bytes(32, "big") + (10**9).to_bytes(32, "big"),
    ],
)
def test_the_magic_word_alone_wraps_nothing(body: bytes) -> None:
    assert signatures.unwrap(body + MAGIC) is None


@pytest.mark.parametrize("number", range(1, 9))
def test_a_compact_signature_is_proven_and_sent_in_full(number: int) -> None:
    key, terms, scheme = make.account(number), make.requirements(), known.BY_NAME["exact"]
    whole = make.payment(key=key)
    short = make.payment(
        key=key, nonce=whole.nonce, signature="0x" + compact(whole.signature_bytes).hex()
    )

    standing = scheme.check_signature(short, terms, payer_has_code=False)
    sent = scheme.as_sent(short, standing, payer_has_code=False)

    assert standing is Standing.PROVEN
    assert sent == whole


@pytest.mark.parametrize("inner", [b"\x01", b"a" * 64, b"b" * 65, b"c" * 97, b"d" * 600])
def test_what_a_deployed_wallet_signed_is_sent_without_its_wrapper(inner: bytes) -> None:
    paid = make.payment(signature="0x" + wrapped(inner).hex())
    scheme = known.BY_NAME["exact"]

    standing = scheme.check_signature(paid, make.requirements(), payer_has_code=True)
    sent = scheme.as_sent(paid, standing, payer_has_code=True)

    assert standing is Standing.NEEDS_FACILITATOR
    assert sent.signature_bytes == inner


@pytest.mark.parametrize("v", [0, 1, 2, 26, 27, 28, 255])
def test_the_65_bytes_of_a_contract_reach_the_token_unchanged(v: int) -> None:
    inner = bytes(range(64)) + bytes((v,))
    paid = make.payment(signature="0x" + inner.hex())
    scheme = known.BY_NAME["exact"]
    standing = scheme.check_signature(paid, make.requirements(), payer_has_code=True)

    sent = scheme.as_sent(paid, standing, payer_has_code=True)
    words = scheme.transfer(sent).data[-3 * 64 :]

    assert sent == paid
    assert words == f"{v:064x}" + inner[:64].hex()


@pytest.mark.parametrize("number", range(1, 9))
def test_a_key_that_writes_0_or_1_is_sent_as_the_token_takes_it(number: int) -> None:
    whole = make.payment(key=make.account(number))
    low = whole.signature_bytes[:64] + bytes((whole.signature_bytes[64] - 27,))
    paid = make.payment(key=make.account(number), nonce=whole.nonce, signature="0x" + low.hex())
    scheme = known.BY_NAME["exact"]

    standing = scheme.check_signature(paid, make.requirements(), payer_has_code=None)

    assert scheme.as_sent(paid, standing, payer_has_code=None) == whole


def test_a_wallet_without_code_is_left_to_a_facilitator_that_may_deploy_it() -> None:
    paid = make.payment(signature="0x" + wrapped(b"inner").hex())
    scheme = known.BY_NAME["exact"]

    standing = scheme.check_signature(paid, make.requirements(), payer_has_code=False)

    assert standing is Standing.NEEDS_FACILITATOR
    assert scheme.as_sent(paid, standing, payer_has_code=False) == paid


@pytest.mark.parametrize(
    "signature", ["0x01", "0x" + "11" * 64, "0x" + "22" * 65, "0x" + "33" * 66, "0x" + "44" * 600]
)
def test_what_nobody_without_code_can_have_signed_is_refused_here(signature: str) -> None:
    scheme = known.BY_NAME["exact"]

    with pytest.raises(errors.PaymentRejected) as told:
        scheme.check_signature(
            make.payment(signature=signature), make.requirements(), payer_has_code=False
        )

    assert told.value.code is errors.Code.SIGNATURE_INVALID
