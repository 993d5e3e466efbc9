"""The plain token: what it says of itself, allowances, minting."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support import chain as support
from tests.support.token import STRANGER, ContractCaller, Reverted

from pve402_devnet.chain import contracts

OWNER = "0x" + "0a" * 20
SPENDER = "0x" + "0b" * 20
PAYEE = "0x" + "0c" * 20
ZERO = "0x" + "00" * 20


@pytest.mark.parametrize(
    ("signature", "returns", "expected"),
    [
        ("name()", "string", "USDC"),
        ("symbol()", "string", "USDC"),
        ("version()", "string", "2"),
        ("decimals()", "uint8", 6),
        ("totalSupply()", "uint256", 0),
    ],
)
def test_it_says_what_wallets_expect(
    token: ContractCaller, signature: str, returns: str, expected: Any
) -> None:
    assert token.read(signature, returns=returns) == expected


def test_its_domain_is_the_one_that_clients_sign_for(token: ContractCaller) -> None:
    message = support.authorization(OWNER, PAYEE, 1)

    separator = token.read("DOMAIN_SEPARATOR()", returns="bytes32")

    assert separator == support.typed_data(message, "TransferWithAuthorization").header


def test_a_transfer_moves_and_a_larger_one_does_not(token: ContractCaller) -> None:
    token.chain.fund(OWNER, usdc_atomic=100)

    token.write("transfer(address,uint256)", PAYEE, 60, sender=OWNER)

    assert (token.chain.usdc_balance(OWNER), token.chain.usdc_balance(PAYEE)) == (40, 60)
    with pytest.raises(Reverted, match="transfer amount exceeds balance"):
        token.write("transfer(address,uint256)", PAYEE, 41, sender=OWNER)


def test_an_allowance_is_used_up(token: ContractCaller) -> None:
    token.chain.fund(OWNER, usdc_atomic=100)
    token.write("approve(address,uint256)", SPENDER, 30, sender=OWNER)

    token.write("transferFrom(address,address,uint256)", OWNER, PAYEE, 20, sender=SPENDER)

    left = token.read("allowance(address,address)", OWNER, SPENDER, returns="uint256")
    assert (left, token.chain.usdc_balance(PAYEE)) == (10, 20)
    with pytest.raises(Reverted, match="exceeds allowance"):
        token.write("transferFrom(address,address,uint256)", OWNER, PAYEE, 11, sender=SPENDER)


def test_an_endless_allowance_stays(token: ContractCaller) -> None:
    token.chain.fund(OWNER, usdc_atomic=100)
    token.write("approve(address,uint256)", SPENDER, 2**256 - 1, sender=OWNER)

    token.write("transferFrom(address,address,uint256)", OWNER, PAYEE, 20, sender=SPENDER)

    left = token.read("allowance(address,address)", OWNER, SPENDER, returns="uint256")
    assert left == 2**256 - 1


@pytest.mark.parametrize(
    ("signature", "values", "sender", "reason"),
    [
        ("mint(address,uint256)", (OWNER, 1), STRANGER, "not a minter"),
        ("mint(address,uint256)", (ZERO, 1), contracts.MINTER_ADDRESS, "mint to the zero address"),
        ("transfer(address,uint256)", (ZERO, 0), OWNER, "transfer to the zero address"),
        ("approve(address,uint256)", (ZERO, 0), OWNER, "approve to the zero address"),
    ],
)
def test_what_it_refuses(
    token: ContractCaller, signature: str, values: tuple[Any, ...], sender: str, reason: str
) -> None:
    with pytest.raises(Reverted, match=reason):
        token.write(signature, *values, sender=sender)


def test_minting_raises_the_supply(token: ContractCaller) -> None:
    token.chain.fund(OWNER, usdc_atomic=70)

    assert token.read("totalSupply()", returns="uint256") == 70
