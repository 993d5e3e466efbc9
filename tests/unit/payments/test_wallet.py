"""Proving who holds a wallet."""

from datetime import UTC, datetime, timedelta

import pytest
from eth_abi.abi import encode
from eth_account.messages import _hash_eip191_message, encode_defunct
from hypothesis import given
from hypothesis import strategies as st
from tests.support import payments as make

from pve402.domain import account as accounts
from pve402.payments import chain as chains
from pve402.payments import errors, wallet
from pve402.payments.wallet import Code

NETWORK = "eip155:84532"
START = datetime(2026, 11, 21, 20, 0, 0, 999_999, tzinfo=UTC)
OWNER = accounts.account(NETWORK, make.account().address)


class UsedOnce:
    """Nonces of one process."""

    def __init__(self) -> None:
        self.used: dict[str, datetime] = {}

    async def consume(self, nonce: str, *, expires_at: datetime) -> bool:
        if nonce in self.used:
            return False
        self.used[nonce] = expires_at
        return True


class ContractWallets(chains.Chain):
    """A chain whose contracts stand by everything that ends in 0x01."""

    def __init__(self) -> None:
        super().__init__(make.FakeNode())

    async def has_code(self, address: str) -> bool:
        return True

    async def stands_by(self, account: str, message_hash: bytes, signature: bytes) -> bool:
        return signature.endswith(b"\x01")


class Service:
    """An authenticator with a clock that a test can move."""

    def __init__(
        self,
        *,
        url: str = "https://pve.example",
        secret: bytes = b"k" * 32,
        wallets: ContractWallets | None = None,
    ) -> None:
        self.now = START
        self.nonces = UsedOnce()
        options = wallet.WalletOptions(public_url=url, secret=secret)
        self.authenticator = wallet.WalletAuthenticator(
            options,
            self.nonces,
            {NETWORK: wallets or ContractWallets()},
            now=lambda: self.now,
        )

    def challenge(self, owner: str = OWNER) -> str:
        return self.authenticator.challenge(owner).message


def _sign(message: str, number: int = 1) -> str:
    signed = make.account(number).sign_message(encode_defunct(text=message))
    return "0x" + bytes(signed.signature).hex()


async def _code(service: Service, message: str, signature: str | None = None) -> Code:
    with pytest.raises(wallet.WalletRejected) as caught:
        await service.authenticator.verify(message, signature or _sign(message))
    return caught.value.code


def test_the_text_is_laid_out_as_eip_4361_says() -> None:
    made = Service(url="https://pve.example:8443/x").authenticator.challenge(OWNER)

    assert made.message.split("\n") == [
        "pve.example:8443 wants you to sign in with your Ethereum account:",
        make.account().address,
        "",
        wallet.STATEMENT,
        "",
        "URI: https://pve.example:8443/x",
        "Version: 1",
        "Chain ID: 84532",
        f"Nonce: {made.nonce}",
        "Issued At: 2026-11-21T20:00:00Z",
        "Expiration Time: 2026-11-21T20:05:00Z",
    ]


async def test_who_signs_is_proven() -> None:
    service = Service()
    message = service.challenge()

    proven = await service.authenticator.verify(message, _sign(message))

    assert (proven.account, proven.by_key) == (OWNER, True)


async def test_a_challenge_is_good_once() -> None:
    service = Service()
    message = service.challenge()
    await service.authenticator.verify(message, _sign(message))

    assert await _code(service, message) is Code.USED


async def test_a_wrong_signature_does_not_use_the_challenge_up() -> None:
    service = Service()
    message = service.challenge()

    assert await _code(service, message, _sign(message, 2)) is Code.SIGNATURE_INVALID
    assert (await service.authenticator.verify(message, _sign(message))).account == OWNER


@pytest.mark.parametrize(
    ("seconds", "good"), [(0, True), (298, True), (300, False), (-4, True), (-7, False)]
)
async def test_a_challenge_is_good_for_a_while(seconds: int, good: bool) -> None:
    service = Service()
    message = service.challenge()
    service.now = START.replace(microsecond=0) + timedelta(seconds=seconds)

    if good:
        assert (await service.authenticator.verify(message, _sign(message))).by_key
    else:
        assert await _code(service, message) is Code.EXPIRED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pve.example wants", "evil.example wants"),
        ("URI: https://pve.example", "URI: https://evil.example"),
        ("Version: 1", "Version: 2"),
        ("Chain ID: 84532", "Chain ID: 8453"),
        ("Chain ID: 84532", "Chain ID: 999999"),
        ("20:05:00Z", "23:05:00Z"),
        ("20:00:00Z", "20:00:01Z"),
        ("2026-11-21T20:00:00Z", "2026-13-21T20:00:00Z"),
        ("to manage", "to give away"),
        ("to manage", "to m\u0430nage"),
        ("20:05:00Z", "20:05:00Z\nResources:\n- https://pve.example/more"),
        ("Nonce: ", "Nonce: 0"),
        (make.account(1).address, make.account(2).address),
        (make.account(1).address, make.account(1).address.lower()),
        ("20:05:00Z", "20:05:00Z\n"),
        ("\n\n", "\n"),
        ("\n", "\r\n"),
    ],
)
async def test_a_text_that_was_changed_is_refused_whoever_signs_it(old: str, new: str) -> None:
    service = Service()
    message = service.challenge().replace(old, new)

    for signer in (1, 2):
        assert await _code(service, message, _sign(message, signer)) is Code.MALFORMED


async def test_another_services_challenge_is_refused() -> None:
    message = Service(secret=b"x" * 32).challenge()

    assert await _code(Service(), message) is Code.MALFORMED


async def test_text_that_cannot_be_encoded_is_refused() -> None:
    service = Service()
    message = service.challenge().replace("to manage", "\ud800")

    assert await _code(service, message, "0x" + "00" * 65) is Code.MALFORMED


@given(st.text(max_size=300))
async def test_any_text_is_refused(text: str) -> None:
    assert await _code(Service(), text, "0x" + "00" * 65) is Code.MALFORMED


@pytest.mark.parametrize(
    "signature", ["", "0x", "00" * 65, "0xzz", "0x1", "0x" + "00" * 4097, "0x" + "00" * 65]
)
async def test_a_signature_of_another_shape_is_refused(signature: str) -> None:
    service = Service()
    message = service.challenge()

    with pytest.raises(wallet.WalletRejected) as caught:
        await service.authenticator.verify(message, signature)
    assert caught.value.code is Code.SIGNATURE_INVALID


async def test_a_contract_wallet_is_proven_on_its_own_chain_only() -> None:
    service = Service()
    contract = accounts.account(NETWORK, make.SOMEBODY)
    message = service.challenge(contract)

    proven = await service.authenticator.verify(message, "0x" + "ab" * 90 + "01")

    assert not proven.by_key
    assert proven.is_account(contract)
    assert not proven.is_account(accounts.account("eip155:8453", make.SOMEBODY))


async def test_a_contract_that_does_not_stand_by_it_proves_nothing() -> None:
    service = Service()
    message = service.challenge(accounts.account(NETWORK, make.SOMEBODY))

    assert await _code(service, message, "0x" + "ab" * 91) is Code.SIGNATURE_INVALID


async def test_a_contract_on_a_chain_we_do_not_serve_proves_nothing() -> None:
    service = Service()
    message = service.challenge(accounts.account("eip155:1", make.SOMEBODY))

    assert await _code(service, message, "0x" + "ab" * 91) is Code.UNSUPPORTED_NETWORK


async def test_a_key_is_the_same_account_on_every_chain() -> None:
    service = Service()
    message = service.challenge()

    proven = await service.authenticator.verify(message, _sign(message))

    assert proven.is_account(accounts.account("eip155:8453", make.account().address))
    assert not proven.is_account(accounts.account(NETWORK, make.SOMEBODY))


def test_an_account_on_an_unknown_network_gets_no_challenge() -> None:
    with pytest.raises(errors.UnknownNetwork):
        Service().challenge(accounts.account("eip155:424242", make.SOMEBODY))


def test_no_two_challenges_are_alike_and_none_is_stored() -> None:
    service = Service()

    assert service.challenge() != service.challenge()
    assert not service.nonces.used


def test_the_hash_is_the_one_that_wallets_sign() -> None:
    text = "grüße\n" * 30

    assert wallet.personal_hash(text) == _hash_eip191_message(encode_defunct(text=text))


class UndeployedWallets(ContractWallets):
    """A chain on which no wallet has code; nobody there is asked."""

    async def has_code(self, address: str) -> bool:
        return False

    async def stands_by(self, account: str, message_hash: bytes, signature: bytes) -> bool:
        raise AssertionError("an address without code was asked")


WRAPPED = "0x" + (encode(["address", "bytes", "bytes"], ["0x" + "fa" * 20, b"x", b"a\x01"])).hex()
MAGIC = "6492" * 16


@pytest.mark.parametrize("signature", ["0x01", "0x" + "11" * 64, "0x" + "22" * 65, WRAPPED + MAGIC])
async def test_an_address_without_code_costs_no_question(signature: str) -> None:
    service = Service(wallets=UndeployedWallets())

    assert await _code(service, service.challenge(), signature) is Code.SIGNATURE_INVALID


async def test_a_deployed_wallet_is_asked_about_what_it_signed_itself() -> None:
    service = Service()

    proven = await service.authenticator.verify(service.challenge(), WRAPPED + MAGIC)

    assert not proven.by_key


@pytest.mark.parametrize("number", range(1, 6))
async def test_a_compact_signature_signs_in(number: int) -> None:
    service = Service()
    owner = f"{NETWORK}:{make.account(number).address.lower()}"
    message = service.challenge(owner)
    whole = bytes.fromhex(_sign(message, number)[2:])
    s = int.from_bytes(whole[32:64], "big") | (whole[64] - 27) << 255

    proven = await service.authenticator.verify(
        message, "0x" + (whole[:32] + s.to_bytes(32, "big")).hex()
    )

    assert (proven.account, proven.by_key) == (owner, True)


async def test_a_challenge_asks_its_contract_a_few_times_only() -> None:
    service = Service()
    message = service.challenge()
    wrong = "0x" + "33" * 66

    told = [await _code(service, message, wrong) for _ in range(7)]

    assert told == [Code.SIGNATURE_INVALID] * 5 + [Code.USED] * 2
    assert (await service.authenticator.verify(message, _sign(message))).by_key
