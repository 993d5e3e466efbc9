"""Contract wallets that are hard to be paid by, on any node that speaks JSON-RPC.

The node has the devnet's contracts planted: a SimulatedChain, a devnet, or anvil.
"""

from __future__ import annotations

import time
from typing import Any, Protocol

from eth_abi.abi import decode
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from tests.support import transactions
from tests.support.chain import new_account
from tests.support.token import call_data

from pve402_devnet.chain.contracts import AWKWARD_FACTORY_ADDRESS, Manner

SETTINGS = "address,uint8,uint256,bytes32"
SALT = b"\x0a" * 32
ACCEPTED = "1626ba7e"
DEPLOYMENT_GAS = 1_000_000


class Node(Protocol):
    """What a chain must offer: JSON-RPC, and money for whoever sends a transaction."""

    def rpc(self, method: str, *params: Any) -> Any: ...

    def fund(self, address: str, *, usdc_atomic: int = 0, eth: int = 0) -> None: ...


def deploy(
    node: Node, owner: LocalAccount, manner: Manner, limit: int = 0, *, usdc_atomic: int = 0
) -> str:
    """Make a wallet of that manner for the owner; returns its address, in lower case."""
    settings = (owner.address, int(manner), limit, SALT)
    question = {
        "to": AWKWARD_FACTORY_ADDRESS,
        "data": "0x" + call_data(f"walletAddress({SETTINGS})", settings).hex(),
    }
    answer = node.rpc("eth_call", question, "latest")
    wallet = str(decode(["address"], bytes.fromhex(answer[2:]))[0])
    create = call_data(f"createWallet({SETTINGS})", settings)
    send(node, new_account(), AWKWARD_FACTORY_ADDRESS, create, gas=DEPLOYMENT_GAS)
    node.fund(wallet, usdc_atomic=usdc_atomic)
    return wallet


def delegate(node: Node, account: LocalAccount, wallet: str) -> None:
    """Let an account behave as an awkward wallet (EIP-7702); the wallet's owner signs for it."""
    wish = {
        "chainId": int(node.rpc("eth_chainId"), 16),
        "address": to_checksum_address(wallet),
        "nonce": _nonce(node, account),
    }
    signed = account.sign_authorization(wish)
    lists = {"authorizationList": [signed]}
    assert send(node, new_account(), new_account().address, b"", gas=200_000, **lists)


def turn(node: Node, owner: LocalAccount, wallet: str) -> None:
    """Let the owner take back every signature, those given before too."""
    send(node, owner, wallet, call_data("turn()", ()), gas=100_000)


def stands_by(node: Node, wallet: str, digest: bytes, signature: bytes, **question: Any) -> bool:
    """What eth_call says of isValidSignature. Raises what the node raises for a failure."""
    call = {
        "to": wallet,
        "data": "0x" + call_data("isValidSignature(bytes32,bytes)", (digest, signature)).hex(),
        **question,
    }
    return str(node.rpc("eth_call", call, "latest"))[2:10] == ACCEPTED


def send(node: Node, sender: LocalAccount, to: str, data: bytes, *, gas: int, **more: Any) -> bool:
    """Send a transaction, mined at once, with that much gas; True when it succeeded."""
    node.fund(sender.address, eth=1)
    nonce = _nonce(node, sender)
    fields = {
        "to": to_checksum_address(to),
        "value": 0,
        "data": "0x" + data.hex(),
        "gas": gas,
        "nonce": nonce,
    }
    done = node.rpc("eth_sendRawTransaction", transactions.raw(sender, **fields, **more))
    for _attempt in range(200):  # anvil answers a broadcast a little before its block is there
        if receipt := node.rpc("eth_getTransactionReceipt", done):
            return int(receipt["status"], 16) == 1
        time.sleep(0.02)
    raise AssertionError("the transaction was not mined")


def _nonce(node: Node, account: LocalAccount) -> int:
    return int(node.rpc("eth_getTransactionCount", account.address, "latest"), 16)
