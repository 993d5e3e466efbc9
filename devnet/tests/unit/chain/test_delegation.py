"""Accounts that run the code of another (EIP-7702)."""

from __future__ import annotations

from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.support.chain import authorization, new_account, sign
from tests.support.token import ContractCaller
from tests.support.transactions import PAYEE, raw

from pve402_devnet.chain import SimulatedChain, jsonrpc, transactions

DELEGATE = "0x" + "de" * 20
STORE_AND_TELL = "0x5f355f55305f5260205ff3"  # stores the first word, returns its own address
ASK_SIZE = "0x5f353b5f5260205ff3"  # EXTCODESIZE of the address in the first word
ZERO = "0x" + "00" * 20


@pytest.fixture
def sponsor(quiet_chain: SimulatedChain) -> LocalAccount:
    account = new_account()
    quiet_chain.fund(account.address, eth=1)
    quiet_chain.rpc("anvil_setCode", DELEGATE, STORE_AND_TELL)
    return account


def wish(account: LocalAccount, **fields: Any) -> Any:
    return account.sign_authorization(
        {"chainId": 84532, "address": DELEGATE, "nonce": 0} | fields  # type: ignore[arg-type]
    )


def send(chain: SimulatedChain, sponsor: LocalAccount, *wishes: Any, **fields: Any) -> Any:
    nonce = int(chain.rpc("eth_getTransactionCount", sponsor.address), 16)
    fields = {"nonce": nonce, "value": 0, "gas": 200_000} | fields
    done = chain.rpc("eth_sendRawTransaction", raw(sponsor, authorizationList=wishes, **fields))
    return chain.rpc("eth_getTransactionReceipt", done)


def code(chain: SimulatedChain, account: LocalAccount) -> str:
    return str(chain.rpc("eth_getCode", account.address))


def test_a_delegated_account_runs_its_delegates_code_as_itself(
    quiet_chain: SimulatedChain, sponsor: LocalAccount
) -> None:
    owner = new_account()

    receipt = send(
        quiet_chain, sponsor, wish(owner), to=owner.address, data=b"\x07".rjust(32, b"\0")
    )

    assert (receipt["status"], receipt["type"]) == ("0x1", "0x4")
    assert code(quiet_chain, owner) == "0xef0100" + DELEGATE[2:]
    assert int(quiet_chain.rpc("eth_getStorageAt", owner.address, "0x0"), 16) == 7
    assert int(quiet_chain.rpc("eth_getStorageAt", DELEGATE, "0x0"), 16) == 0
    answer = quiet_chain.rpc("eth_call", {"to": owner.address})
    assert answer[-40:] == owner.address[2:].lower()
    assert quiet_chain.rpc("eth_getTransactionCount", owner.address) == "0x1"


def test_the_zero_address_ends_a_delegation(
    quiet_chain: SimulatedChain, sponsor: LocalAccount
) -> None:
    owner = new_account()
    send(quiet_chain, sponsor, wish(owner))

    send(quiet_chain, sponsor, wish(owner, nonce=1, address=ZERO))

    assert code(quiet_chain, owner) == "0x"


def test_an_account_may_delegate_itself(quiet_chain: SimulatedChain, sponsor: LocalAccount) -> None:
    receipt = send(quiet_chain, sponsor, wish(sponsor, nonce=1))

    assert receipt["status"] == "0x1"
    assert code(quiet_chain, sponsor) == "0xef0100" + DELEGATE[2:]
    assert quiet_chain.rpc("eth_getTransactionCount", sponsor.address) == "0x2"
    assert send(quiet_chain, sponsor, wish(new_account()))["status"] == "0x1"


@pytest.mark.parametrize(
    "fields", [{"nonce": 1}, {"chainId": 1}, {"nonce": 2**64 - 1}], ids=["nonce", "chain", "last"]
)
def test_a_wish_that_does_not_hold_is_passed_over(
    quiet_chain: SimulatedChain, sponsor: LocalAccount, fields: dict[str, Any]
) -> None:
    owner, other = new_account(), new_account()

    receipt = send(quiet_chain, sponsor, wish(owner, **fields), wish(other, chainId=0))

    assert receipt["status"] == "0x1"
    assert (code(quiet_chain, owner), code(quiet_chain, other)[:8]) == ("0x", "0xef0100")


def test_a_contract_is_not_delegated(quiet_chain: SimulatedChain, sponsor: LocalAccount) -> None:
    owner = new_account()
    quiet_chain.rpc("anvil_setCode", owner.address, ASK_SIZE)

    send(quiet_chain, sponsor, wish(owner))

    assert code(quiet_chain, owner) == ASK_SIZE


def test_contracts_see_the_mark_not_the_delegates_code(
    quiet_chain: SimulatedChain, sponsor: LocalAccount
) -> None:
    owner = new_account()
    send(quiet_chain, sponsor, wish(owner))
    quiet_chain.rpc("anvil_setCode", PAYEE, ASK_SIZE)

    question = {"to": PAYEE, "data": "0x" + owner.address[2:].rjust(64, "0")}

    assert int(quiet_chain.rpc("eth_call", question), 16) == 23


def test_a_delegation_outlives_a_revert_and_not_a_reorganisation(
    quiet_chain: SimulatedChain, sponsor: LocalAccount
) -> None:
    owner = new_account()
    quiet_chain.rpc("anvil_setCode", PAYEE, "0x5f5ffd")
    quiet_chain.rpc("evm_mine")

    receipt = send(quiet_chain, sponsor, wish(owner), to=PAYEE)

    assert (receipt["status"], code(quiet_chain, owner)[:8]) == ("0x0", "0xef0100")
    quiet_chain.rpc("devnet_reorg", 1)
    assert code(quiet_chain, owner) == "0x"


def test_a_delegated_payer_is_asked_through_its_code(
    quiet_chain: SimulatedChain, sponsor: LocalAccount, token: ContractCaller
) -> None:
    owner = new_account()
    quiet_chain.fund(owner.address, usdc_atomic=100)
    send(quiet_chain, sponsor, wish(owner))
    message = authorization(owner.address, PAYEE, 40)

    with pytest.raises(Exception, match="invalid signature"):
        token.authorize(message, sign(owner, message))


def test_a_transaction_shows_its_authorizations(
    quiet_chain: SimulatedChain, sponsor: LocalAccount
) -> None:
    signed = wish(new_account())
    receipt = send(quiet_chain, sponsor, signed)

    shown = quiet_chain.rpc("eth_getTransactionByHash", receipt["transactionHash"])

    assert shown["authorizationList"] == [
        {
            "chainId": "0x14a34",
            "address": DELEGATE,
            "nonce": "0x0",
            "yParity": hex(signed.y_parity),
            "r": hex(signed.r),
            "s": hex(signed.s),
        }
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [({"gas": 45_999}, "intrinsic gas too low"), ({"gas": 46_000}, None)],
)
def test_each_authorization_costs_gas(
    quiet_chain: SimulatedChain, sponsor: LocalAccount, fields: dict[str, Any], reason: str | None
) -> None:
    if reason is None:
        assert send(quiet_chain, sponsor, wish(new_account()), **fields)["gasUsed"] == hex(46_000)
        return
    with pytest.raises(jsonrpc.RpcError, match=reason):
        send(quiet_chain, sponsor, wish(new_account()), **fields)


def test_brackets_without_end_are_no_transaction() -> None:
    nested = b""
    for _ in range(30_000):
        size = len(nested)
        head = bytes([0xC0 + size]) if size < 56 else bytes([0xF9]) + size.to_bytes(2, "big")
        nested = head + nested if size < 60_000 else nested

    with pytest.raises(transactions.InvalidTransaction):
        transactions.decode(b"\x04" + nested)
