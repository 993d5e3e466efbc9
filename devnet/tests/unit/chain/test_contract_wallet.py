"""Payments by wallets that are contracts (EIP-1271), and the factory that makes them."""

from __future__ import annotations

import secrets

import pytest
from eth_abi.abi import encode
from eth_account.signers.local import LocalAccount
from tests.support.chain import authorization, new_account, sign
from tests.support.token import ContractCaller, Reverted

from pve402_devnet.chain import SimulatedChain, contracts

PAYEE = "0x" + "ab" * 20
SALT = b"\x07" * 32


@pytest.fixture
def owner() -> LocalAccount:
    return new_account()


@pytest.fixture
def wallet(quiet_chain: SimulatedChain, owner: LocalAccount) -> str:
    factory = ContractCaller(chain=quiet_chain, address=contracts.WALLET_FACTORY_ADDRESS)
    address = factory.read("walletAddress(address,bytes32)", owner.address, SALT, returns="address")
    factory.write("createWallet(address,bytes32)", owner.address, SALT)
    quiet_chain.fund(address, usdc_atomic=1000)
    return str(address)


def wrapped(signature: bytes, *, owner_index: int = 0) -> bytes:
    return encode(["uint256", "bytes"], [owner_index, signature])


def test_the_factory_deploys_where_it_said(
    quiet_chain: SimulatedChain, wallet: str, owner: LocalAccount
) -> None:
    caller = ContractCaller(chain=quiet_chain, address=wallet)

    assert caller.read("owner()", returns="address") == owner.address.lower()


@pytest.mark.parametrize("form", ["vrs", "bytes"])
def test_the_owners_signature_pays_for_the_wallet(
    token: ContractCaller, wallet: str, owner: LocalAccount, form: str
) -> None:
    message = authorization(wallet, PAYEE, 400)

    token.authorize(message, sign(owner, message), form=form)

    assert token.chain.usdc_balance(wallet) == 600


def test_a_signature_longer_than_65_bytes_pays_too(
    token: ContractCaller, wallet: str, owner: LocalAccount
) -> None:
    message = authorization(wallet, PAYEE, 400)

    token.authorize(message, wrapped(sign(owner, message)), form="bytes")

    assert token.chain.usdc_balance(PAYEE) == 400


def test_a_wallet_can_cancel(token: ContractCaller, wallet: str, owner: LocalAccount) -> None:
    order = {"authorizer": wallet, "nonce": secrets.token_bytes(32)}

    token.cancel(order, sign(owner, order, kind="CancelAuthorization"), form="bytes")

    assert token.is_spent(wallet, order["nonce"])


@pytest.mark.parametrize("make", [bytes, wrapped], ids=["plain", "wrapped"])
def test_a_strangers_signature_does_not_pay(
    token: ContractCaller, wallet: str, make: type[bytes]
) -> None:
    message = authorization(wallet, PAYEE, 400)

    with pytest.raises(Reverted, match="invalid signature"):
        token.authorize(message, make(sign(new_account(), message)), form="bytes")


def test_an_unknown_owner_of_the_wallet_does_not_pay(
    token: ContractCaller, wallet: str, owner: LocalAccount
) -> None:
    message = authorization(wallet, PAYEE, 400)

    with pytest.raises(Reverted, match="invalid signature"):
        token.authorize(message, wrapped(sign(owner, message), owner_index=1), form="bytes")


def test_a_contract_that_knows_no_signatures_cannot_pay(token: ContractCaller) -> None:
    message = authorization(contracts.MULTICALL_ADDRESS, PAYEE, 0)

    with pytest.raises(Reverted, match="invalid signature"):
        token.authorize(message, sign(new_account(), message))


def test_only_the_owner_makes_the_wallet_call(
    token: ContractCaller, quiet_chain: SimulatedChain, wallet: str, owner: LocalAccount
) -> None:
    caller = ContractCaller(chain=quiet_chain, address=wallet)
    move = bytes.fromhex("a9059cbb") + encode(["address", "uint256"], [PAYEE, 5])
    call = ("execute(address,uint256,bytes)", contracts.USDC_ADDRESS, 0, move)

    with pytest.raises(Reverted, match="caller is not the owner"):
        caller.write(*call)
    caller.write(*call, sender=owner.address)

    assert token.chain.usdc_balance(PAYEE) == 5
