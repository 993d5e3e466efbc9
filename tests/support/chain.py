"""A chain and a facilitator in this process, and accounts that can pay, as pytest fixtures.

Import the fixtures into a conftest.py:

    from tests.support.chain import chain, facilitator  # noqa: F401
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from pve402_devnet.chain import ChainOptions, SimulatedChain, contracts
from pve402_devnet.facilitator import FacilitatorOptions, SimulatedFacilitator

USDC_CENT = 10_000
"""One cent in USDC's atomic units."""


@pytest.fixture
async def chain() -> AsyncIterator[SimulatedChain]:
    """A fresh chain on a free port; a transaction is mined before its broadcast returns."""
    async with SimulatedChain(ChainOptions()) as running:
        yield running


@pytest.fixture
async def facilitator(chain: SimulatedChain) -> AsyncIterator[SimulatedFacilitator]:
    """An honest facilitator on that chain, until `facilitator.faults.add(...)`."""
    key = new_account()
    chain.fund(key.address, eth=10)
    options = FacilitatorOptions(
        call_node=chain.rpc,
        private_key=key.key.hex(),
        wallet_factories=(contracts.WALLET_FACTORY_ADDRESS,),
    )
    async with SimulatedFacilitator(options) as running:
        yield running


def new_account() -> LocalAccount:
    """An account with a fresh key."""
    account: LocalAccount = Account.from_key(secrets.token_bytes(32))
    return account


def funded_account(chain: SimulatedChain, *, usdc_atomic: int = 100 * USDC_CENT) -> LocalAccount:
    """A fresh account that owns USDC; paying by x402 needs no ETH."""
    account = new_account()
    chain.fund(account.address, usdc_atomic=usdc_atomic)
    return account


def authorization(
    payer: str,
    payee: str,
    value: int,
    *,
    valid_after: int = 0,
    valid_before: int = 2**63,
    nonce: bytes | None = None,
) -> dict[str, Any]:
    """The message of an EIP-3009 transfer; a fresh nonce unless one is given."""
    return {
        "from": payer,
        "to": payee,
        "value": value,
        "validAfter": valid_after,
        "validBefore": valid_before,
        "nonce": nonce or secrets.token_bytes(32),
    }


def sign(
    key: LocalAccount, message: dict[str, Any], *, kind: str = "TransferWithAuthorization"
) -> bytes:
    """The 65 bytes of a plain account's signature over an EIP-3009 message."""
    return bytes(key.sign_message(typed_data(message, kind)).signature)


def digest(message: dict[str, Any], *, kind: str = "TransferWithAuthorization") -> bytes:
    """What a wallet signs for that message on chain 84532 (EIP-712)."""
    signable = typed_data(message, kind)
    return bytes(keccak(b"\x19" + signable.version + signable.header + signable.body))


def typed_data(message: dict[str, Any], kind: str) -> SignableMessage:
    """An EIP-3009 message with the token's domain, ready to be signed."""
    return encode_typed_data(
        full_message={
            "types": {"EIP712Domain": DOMAIN_FIELDS, kind: MESSAGE_FIELDS[kind]},
            "primaryType": kind,
            "domain": DOMAIN,
            "message": message,
        }
    )


DOMAIN = {
    "name": "USDC",
    "version": "2",
    "chainId": 84532,
    "verifyingContract": contracts.USDC_ADDRESS,
}
DOMAIN_FIELDS = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]
TRANSFER_FIELDS = [
    {"name": "from", "type": "address"},
    {"name": "to", "type": "address"},
    {"name": "value", "type": "uint256"},
    {"name": "validAfter", "type": "uint256"},
    {"name": "validBefore", "type": "uint256"},
    {"name": "nonce", "type": "bytes32"},
]
MESSAGE_FIELDS = {
    "TransferWithAuthorization": TRANSFER_FIELDS,
    "ReceiveWithAuthorization": TRANSFER_FIELDS,
    "CancelAuthorization": [
        {"name": "authorizer", "type": "address"},
        {"name": "nonce", "type": "bytes32"},
    ],
}
