"""Every form of a wallet's signature, in payments and in sign-ins, through a running service."""

import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account.signers.local import LocalAccount
from tests.support import asgi, payments, shop
from tests.support.api_fixtures import BODY
from tests.support.chain import chain, facilitator, new_account  # noqa: F401
from tests.support.installation import PAY_TO
from tests.support.shop import PRICE_ATOMIC, Shop
from tests.support.token import ContractCaller, call_data

from pve402.payments import wallet
from pve402.payments.schemes.exact import local_checks
from pve402_devnet.chain import contracts
from pve402_devnet.facilitator import FacilitatorOptions, SimulatedFacilitator

MAGIC = bytes.fromhex("6492" * 16)
SALT = b"\x07" * 32
Form = Callable[["Wallet", bytes], bytes]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wallet:
    """An address with money, and the key that signs for it."""

    key: LocalAccount
    address: str
    form: Form

    def sign(self, digest: bytes) -> bytes:
        """The signature in the wallet's own form."""
        return self.form(self, bytes(self.key.unsafe_sign_hash(digest).signature))


def plain(_of: Wallet, signature: bytes) -> bytes:
    return signature


def compact(_of: Wallet, signature: bytes) -> bytes:
    """EIP-2098."""
    s = int.from_bytes(signature[32:64], "big") | (signature[64] - 27) << 255
    return signature[:32] + s.to_bytes(32, "big")


def from_zero(_of: Wallet, signature: bytes) -> bytes:
    """With a last byte of 0 or 1, as hardware wallets write it."""
    return signature[:64] + bytes((signature[64] - 27,))


def by_owner(_of: Wallet, signature: bytes) -> bytes:
    """With the number of the owner who signed."""
    return encode(["uint256", "bytes"], [0, signature])


def wrapped(wallet: Wallet, signature: bytes) -> bytes:
    """ERC-6492."""
    create = call_data("createWallet(address,bytes32)", (wallet.key.address, SALT))
    parts = [contracts.WALLET_FACTORY_ADDRESS, create, signature]
    return encode(["address", "bytes", "bytes"], parts) + MAGIC


def wrapped_by_owner(wallet: Wallet, signature: bytes) -> bytes:
    return wrapped(wallet, by_owner(wallet, signature))


KEYS = [plain, compact, from_zero]
CONTRACTS = [plain, by_owner, wrapped, wrapped_by_owner]


@pytest.fixture(params=["facilitator", "own key"])
async def open_shop(
    request: Any,
    chain: Any,  # noqa: F811
    facilitator: Any,  # noqa: F811
    tmp_path: Path,
) -> AsyncIterator[Shop]:
    """A service that settles through a facilitator that deploys wallets, or with its own key."""
    own: dict[str, Any] = {"pve402_create_wait_seconds": 60}
    if request.param == "own key":
        key = new_account()
        chain.fund(key.address, eth=1)
        own |= {"facilitator_url": None, "facilitator_private_key": key.key.to_0x_hex()}
    async with shop.running(tmp_path, chain, facilitator, **own) as made:
        yield made


def wallet_of(made: Shop, form: Form, *, is_contract: bool, is_deployed: bool = True) -> Wallet:
    """A funded wallet that signs in one form."""
    key = new_account()
    address = key.address.lower()
    if is_contract:
        caller = ContractCaller(chain=made.inside.chain, address=contracts.WALLET_FACTORY_ADDRESS)
        asked = ("walletAddress(address,bytes32)", key.address, SALT)
        address = str(caller.read(*asked, returns="address")).lower()
        if is_deployed:
            caller.write("createWallet(address,bytes32)", key.address, SALT)
    made.inside.chain.fund(address, usdc_atomic=10 * PRICE_ATOMIC)
    return Wallet(key=key, address=address, form=form)


async def pays(made: Shop, payer: Wallet, version: int) -> asgi.Reply:
    terms = payments.requirements(
        amount_atomic=PRICE_ATOMIC, pay_to=PAY_TO, max_timeout_seconds=600
    )
    until = int(time.time()) + 500
    unsigned = payments.payment(
        version=version, terms=terms, payer=payer.address, valid_before=until, signature="0x00"
    )
    signature = payer.sign(local_checks.digest(unsigned, terms)).hex()
    signed = dataclasses.replace(unsigned, signature=f"0x{signature}")
    name = "X-PAYMENT" if version == 1 else "PAYMENT-SIGNATURE"
    header = {name: payments.encode(payments.document(signed, terms))}
    return await made.http.post("/lease/container", BODY, headers=header)


async def signs_in(made: Shop, who: Wallet) -> asgi.Reply:
    asked = await made.http.post("/auth/challenge", {"address": who.address})
    message = asked.json()["message"]
    signature = who.sign(wallet.personal_hash(message)).hex()
    return await made.http.post("/auth/token", {"message": message, "signature": signature})


@pytest.mark.parametrize(
    ("form", "is_contract"), [*((f, False) for f in KEYS), *((f, True) for f in CONTRACTS)]
)
async def test_a_wallet_signs_in_any_form(open_shop: Shop, form: Form, is_contract: bool):
    tenant = wallet_of(open_shop, form, is_contract=is_contract)

    entered = await signs_in(open_shop, tenant)
    sold = [await pays(open_shop, tenant, version) for version in (1, 2)]

    assert entered.status == 200, entered.body
    assert [reply.status for reply in sold] == [200, 200], [reply.body for reply in sold]
    assert open_shop.inside.earned == 2 * PRICE_ATOMIC


@pytest.mark.parametrize("form", [wrapped, wrapped_by_owner])
async def test_a_wallet_that_is_not_deployed_pays_where_it_is_deployed(open_shop: Shop, form: Form):
    tenant = wallet_of(open_shop, form, is_contract=True, is_deployed=False)
    deploys = open_shop.inside.parts.settings.facilitator_url is not None

    entered = await signs_in(open_shop, tenant)
    sold = await pays(open_shop, tenant, 2)

    assert (entered.status, entered.code) == (401, "unauthenticated")
    assert "deploy it" in entered.json()["detail"]
    if deploys:
        assert sold.status == 200, sold.body
    else:
        assert (sold.status, sold.code) == (402, "wallet_not_deployed")
        assert "deploy it" in sold.json()["detail"]
    assert open_shop.inside.earned == (PRICE_ATOMIC if deploys else 0)


@pytest.mark.parametrize("form", [wrapped, wrapped_by_owner])
async def test_a_facilitator_that_deploys_nothing_is_said_to_be_one(
    chain: Any,  # noqa: F811
    tmp_path: Path,
    form: Form,
):
    key = new_account()
    chain.fund(key.address, eth=1)
    options = FacilitatorOptions(call_node=chain.rpc, private_key=key.key.hex())
    async with (
        SimulatedFacilitator(options) as refusing,
        shop.running(tmp_path, chain, refusing) as made,
    ):
        tenant = wallet_of(made, form, is_contract=True, is_deployed=False)
        refused = await pays(made, tenant, 2)
        balance = await made.balance()

    assert (refused.status, refused.code) == (402, "eip6492_factory_not_allowed")
    assert "deploy it" in refused.json()["detail"]
    assert (balance.order, balance.earned) == (None, 0)
