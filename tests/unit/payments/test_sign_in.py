"""Signing in by the header SIGN-IN-WITH-X, as the official clients write it."""

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from eth_account.messages import encode_defunct
from hypothesis import given
from hypothesis import strategies as st
from tests.support import payments as make
from tests.unit.payments.test_wallet import NETWORK, Service

from pve402.payments import sign_in, wallet
from pve402.payments.wallet import Code

URI = "https://pve.example/management/list"


def _header(
    service: Service, uri: str = URI, *, number: int = 1, lower: bool = False, **changes: Any
) -> str:
    """What a client sends that was offered to sign in at `uri`."""
    declared = json.loads(service.authenticator.offer("GET", uri).extension(NETWORK))
    info, chain = declared["info"], declared["supportedChains"][0]
    key = make.account(number)
    address = key.address.lower() if lower else key.address
    text = (
        f"{info['domain']} wants you to sign in with your Ethereum account:\n{address}\n\n"
        f"{info['statement']}\n\nURI: {info['uri']}\nVersion: {info['version']}\n"
        f"Chain ID: {chain['chainId'].partition(':')[2]}\nNonce: {info['nonce']}\n"
        f"Issued At: {info['issuedAt']}\nExpiration Time: {info['expirationTime']}"
    )
    signature = "0x" + bytes(key.sign_message(encode_defunct(text=text)).signature).hex()
    return _encoded({**info, **chain, "address": address, "signature": signature, **changes})


def _encoded(document: Any) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


async def _code(service: Service, header: str, uri: str = URI, method: str = "GET") -> Code:
    with pytest.raises(wallet.WalletRejected) as caught:
        await service.authenticator.verify_signed_in(header, method, uri)
    return caught.value.code


@pytest.mark.parametrize("lower", [False, True])
async def test_a_wallet_that_signs_what_it_was_offered_is_known(lower: bool) -> None:
    service = Service()

    proven = await service.authenticator.verify_signed_in(_header(service, lower=lower), "GET", URI)

    assert proven.account == f"{NETWORK}:{make.account().address.lower()}"
    assert proven.by_key


async def test_an_offer_works_once() -> None:
    service = Service()
    header = _header(service)
    await service.authenticator.verify_signed_in(header, "GET", URI)

    assert await _code(service, header) is Code.USED


async def test_two_offers_of_the_same_moment_are_two() -> None:
    service = Service()
    first, second = _header(service), _header(service)

    await service.authenticator.verify_signed_in(first, "GET", URI)

    assert (await service.authenticator.verify_signed_in(second, "GET", URI)).by_key


async def test_an_offer_for_reading_is_not_good_for_a_change() -> None:
    service = Service()

    assert await _code(service, _header(service), method="DELETE") is Code.MALFORMED


async def test_an_offer_of_one_route_opens_no_other() -> None:
    service = Service()

    assert await _code(service, _header(service), URI + "/other") is Code.MALFORMED


async def test_an_offer_of_another_service_opens_nothing_here() -> None:
    for other in (Service(secret=b"o" * 32), Service(url="https://other.example")):
        assert await _code(Service(), _header(other)) is Code.MALFORMED


@pytest.mark.parametrize("passed", [timedelta(seconds=-10), timedelta(seconds=301)])
async def test_an_offer_is_good_for_five_minutes(passed: timedelta) -> None:
    service = Service()
    header = _header(service)
    service.now += passed

    assert await _code(service, header) is Code.EXPIRED


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("address", make.account(2).address, Code.SIGNATURE_INVALID),
        ("chainId", "eip155:8453", Code.UNSUPPORTED_NETWORK),  # a contract there, for all we know
        ("chainId", "eip155:999999", Code.UNSUPPORTED_NETWORK),
        ("domain", "evil.example", Code.MALFORMED),
        ("uri", "https://evil.example/", Code.MALFORMED),
        ("statement", "I give you everything.", Code.MALFORMED),
        ("statement", None, Code.MALFORMED),
        ("version", "2", Code.MALFORMED),
        ("nonce", "0" * 56, Code.MALFORMED),
        ("expirationTime", "2099-01-01T00:00:00Z", Code.MALFORMED),
        ("issuedAt", "yesterday", Code.MALFORMED),
        ("type", "ed25519", Code.MALFORMED),
        ("resources", ["https://pve.example/free"], Code.MALFORMED),
        ("notBefore", "2026-11-21T20:00:00Z", Code.MALFORMED),
        ("signature", "0x1234", Code.SIGNATURE_INVALID),
        ("signature", "hello", Code.SIGNATURE_INVALID),
        ("signature", 7, Code.MALFORMED),
    ],
)
async def test_what_was_changed_opens_nothing(name: str, value: Any, code: Code) -> None:
    service = Service()

    assert await _code(service, _header(service, **{name: value})) is code
    assert service.nonces.used == {}


async def test_a_challenge_of_ours_is_no_offer_and_an_offer_no_challenge() -> None:
    service = Service()
    challenge = service.authenticator.challenge(f"{NETWORK}:{make.account().address.lower()}")

    assert await _code(service, _header(service, nonce=challenge.nonce)) is Code.MALFORMED


async def test_a_contract_wallet_signs_in_on_its_own_chain() -> None:
    service = Service()
    header = _header(service, address=make.account(3).address, signature="0x" + "ab" * 70 + "01")

    proven = await service.authenticator.verify_signed_in(header, "GET", URI)

    assert proven.account == f"{NETWORK}:{make.account(3).address.lower()}"
    assert not proven.by_key


@given(
    st.text(max_size=100) | st.binary(max_size=100).map(lambda raw: base64.b64encode(raw).decode())
)
def test_any_header_is_read_or_refused(header: str) -> None:
    assert sign_in.read(header) is None


@pytest.mark.parametrize("document", [[], "x", 1, None, {}, {"type": []}, {"type": "eip191"}])
def test_any_document_is_read_or_refused(document: Any) -> None:
    assert sign_in.read(_encoded(document)) is None
