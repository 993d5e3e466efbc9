"""Payers that are contracts (EIP-1271), from the local checks to the transfer."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account.signers.local import LocalAccount
from tests.support import payments as make
from tests.support.chain import new_account
from tests.support.signer_nonces import InMemorySignerNonces
from tests.support.token import ContractCaller, call_data

from pve402.domain import account as accounts
from pve402.payments import chain as chains
from pve402.payments import protocol, rpc, settlement, wallet
from pve402.payments.facilitators import Facilitator, Outcome
from pve402.payments.facilitators.embedded import EmbeddedFacilitator, EmbeddedOptions
from pve402.payments.facilitators.http import HttpFacilitator, HttpFacilitatorOptions
from pve402.payments.schemes.base import Standing
from pve402.payments.schemes.exact import local_checks
from pve402_devnet.chain import contracts

TERMS = make.requirements()
SALT = b"\x07" * 32
Wrap = Callable[[bytes], bytes]


@dataclass(frozen=True)
class ContractWallet:
    """A contract and the key that owns it."""

    owner: LocalAccount
    address: str

    def pays(self, wrap: Wrap) -> protocol.Payment:
        """A payment from the contract, with a signature of the owner's in some shape."""
        valid_before = int(time.time()) + 300
        unsigned = make.payment(payer=self.address, valid_before=valid_before, signature="0x00")
        signed = self.owner.unsafe_sign_hash(local_checks.digest(unsigned, TERMS))
        return make.payment(
            payer=self.address,
            valid_before=valid_before,
            nonce=unsigned.nonce,
            signature="0x" + wrap(bytes(signed.signature)).hex(),
        )


@pytest.fixture
def contract(chain: Any) -> ContractWallet:
    """A deployed contract wallet with money."""
    owner = new_account()
    factory = ContractCaller(chain=chain, address=contracts.WALLET_FACTORY_ADDRESS)
    address = factory.read("walletAddress(address,bytes32)", owner.address, SALT, returns="address")
    factory.write("createWallet(address,bytes32)", owner.address, SALT)
    chain.fund(address, usdc_atomic=TERMS.amount_atomic)
    return ContractWallet(owner=owner, address=str(address).lower())


@pytest.fixture(params=["http", "embedded"])
async def either(request: Any, chain: Any, facilitator: Any, endpoint: rpc.Rpc) -> Any:
    """Both kinds of facilitator."""
    made: Facilitator
    if request.param == "http":
        made = HttpFacilitator(HttpFacilitatorOptions(url=facilitator.url))
    else:
        key = new_account()
        chain.fund(key.address, eth=1)
        made = EmbeddedFacilitator(
            EmbeddedOptions(network="base-sepolia", private_key=key.key.hex()),
            endpoint,
            InMemorySignerNonces(),
            record_transaction=_forget,
        )
    yield made
    await made.close()


async def _forget(_payment: protocol.PaymentKey, _transaction: str) -> None:
    return None


def plain(signature: bytes) -> bytes:
    return signature


def wrapped(signature: bytes) -> bytes:
    return encode(["uint256", "bytes"], [0, signature])


def of_another_owner(signature: bytes) -> bytes:
    return encode(["uint256", "bytes"], [1, signature])


@pytest.mark.parametrize("wrap", [plain, wrapped])
async def test_a_contract_wallet_pays(
    either: Facilitator, chain: Any, contract: ContractWallet, endpoint: rpc.Rpc, wrap: Wrap
) -> None:
    payment = contract.pays(wrap)
    route = settlement.Route(facilitator=either, chain=chains.Chain(endpoint))
    settler = settlement.Settler({payment.network: route})

    standing = local_checks.check_signature(payment, TERMS)
    verified = await settler.verify(payment, TERMS)
    settled = await settler.settle(payment, TERMS, since_seconds=int(time.time()))

    assert standing is Standing.NEEDS_FACILITATOR
    assert (verified.valid, settled.outcome) == (True, Outcome.SETTLED)
    assert chain.usdc_balance(make.OUR_ADDRESS) == TERMS.amount_atomic


async def test_a_signature_the_contract_does_not_stand_by_is_refused(
    either: Facilitator, chain: Any, contract: ContractWallet
) -> None:
    verified = await either.verify(contract.pays(of_another_owner), TERMS)

    assert not verified.valid
    assert chain.usdc_balance(make.OUR_ADDRESS) == 0


async def test_a_wallet_that_is_not_yet_deployed_pays_through_a_facilitator_that_deploys_it(
    settler: settlement.Settler, chain: Any
) -> None:
    owner = new_account()
    factory = ContractCaller(chain=chain, address=contracts.WALLET_FACTORY_ADDRESS)
    address = factory.read("walletAddress(address,bytes32)", owner.address, SALT, returns="address")
    chain.fund(address, usdc_atomic=TERMS.amount_atomic)
    create = call_data("createWallet(address,bytes32)", (owner.address, SALT))
    magic = bytes.fromhex("6492" * 16)

    def undeployed(signature: bytes) -> bytes:
        parts = [contracts.WALLET_FACTORY_ADDRESS, create, signature]
        return encode(["address", "bytes", "bytes"], parts) + magic

    payment = ContractWallet(owner=owner, address=str(address).lower()).pays(undeployed)
    settled = await settler.settle(payment, TERMS, since_seconds=int(time.time()))

    assert settled.outcome is Outcome.SETTLED
    assert chain.usdc_balance(make.OUR_ADDRESS) == TERMS.amount_atomic


class _UsedOnce:
    async def consume(self, nonce: str, *, expires_at: datetime) -> bool:
        return True


async def test_a_contract_wallet_proves_itself_through_its_chain(
    contract: ContractWallet, endpoint: rpc.Rpc
) -> None:
    reader = chains.Chain(endpoint)
    authenticator = wallet.WalletAuthenticator(
        wallet.WalletOptions(public_url="https://pve.example", secret=b"k" * 32),
        _UsedOnce(),
        {TERMS.network: reader},
        now=lambda: datetime.now(UTC),
    )
    owner = accounts.account(TERMS.network, contract.address)
    message = authenticator.challenge(owner).message
    signed = contract.owner.unsafe_sign_hash(wallet.personal_hash(message))

    proven = await authenticator.verify(message, "0x" + bytes(signed.signature).hex())
    with pytest.raises(wallet.WalletRejected):
        await authenticator.verify(message, "0x" + "11" * 64 + "1b")

    assert (proven.account, proven.by_key) == (owner, False)
    assert await reader.has_code(contract.address)
    assert not await reader.has_code(contract.owner.address.lower())
