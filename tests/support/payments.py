"""Payments as real clients sign them, and a chain that is a few dictionaries."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from typing import Any

from eth_abi.abi import encode as abi_encode
from eth_account import Account
from eth_account.signers.local import LocalAccount

from pve402.payments import abi, errors, networks, protocol, rpc
from pve402.payments.schemes.exact import eip3009, local_checks

NOW = 1_800_000_000
"""Unix seconds at which the tests take place."""
OUR_ADDRESS = "0x" + "ab" * 20
SOMEBODY = "0x" + "cd" * 20
FACTORY = "0x" + "fa" * 20
ERC6492_MAGIC = bytes.fromhex("6492" * 16)
TRANSACTION = "0x" + "11" * 32
OTHER_TRANSACTION = "0x" + "22" * 32


async def pause() -> None:
    """Let others go on for a moment."""
    await asyncio.sleep(0.005)


def account(number: int = 1) -> LocalAccount:
    """The same key for the same number."""
    found: LocalAccount = Account.from_key(number.to_bytes(32, "big"))
    return found


def requirements(**changes: Any) -> protocol.Requirements:
    """Terms of a small lease on base-sepolia."""
    terms: dict[str, Any] = {
        "network": "base-sepolia",
        "amount_atomic": 10_000,
        "pay_to": OUR_ADDRESS,
        "max_timeout_seconds": 300,
        "resource_url": "https://pve.example/lease/container",
        "description": "one container",
    }
    return protocol.Requirements(**terms | changes)


def payment(
    *,
    version: Any = 2,
    key: LocalAccount | None = None,
    terms: protocol.Requirements | None = None,
    **changes: Any,
) -> protocol.Payment:
    """A payment that `key` signed; `changes` are made before it is signed."""
    terms = terms or requirements()
    key = key or account()
    fields: dict[str, Any] = {
        "version": version,
        "network": terms.network,
        "asset": terms.asset,
        "payer": key.address.lower(),
        "pay_to": terms.pay_to,
        "amount_atomic": terms.amount_atomic,
        "valid_after": 0,
        "valid_before": NOW + 300,
        "nonce": "0x" + secrets.token_hex(32),
        "signature": "0x00",
    }
    unsigned = protocol.Payment(**fields | changes)
    if "signature" in changes:
        return unsigned
    signed = key.unsafe_sign_hash(local_checks.digest(unsigned, terms))
    return protocol.Payment(
        **{name: getattr(unsigned, name) for name in fields if name != "signature"},
        signature="0x" + bytes(signed.signature).hex(),
    )


def wrapped(inner: bytes, call: bytes = b"create") -> bytes:
    """The signature of a wallet that its factory has still to deploy (ERC-6492)."""
    return abi_encode(["address", "bytes", "bytes"], [FACTORY, call, inner]) + ERC6492_MAGIC


def document(paid: protocol.Payment, terms: protocol.Requirements | None = None) -> dict[str, Any]:
    """The payment as its wire version writes it."""
    signed = {
        "signature": paid.signature,
        "authorization": {
            "from": paid.payer,
            "to": paid.pay_to,
            "value": str(paid.amount_atomic),
            "validAfter": str(paid.valid_after),
            "validBefore": str(paid.valid_before),
            "nonce": paid.nonce,
        },
    }
    if paid.version == 1:
        name = networks.resolve(paid.network).name
        return {"x402Version": 1, "scheme": "exact", "network": name, "payload": signed}
    accepted = protocol.v2_terms(terms or requirements(amount_atomic=paid.amount_atomic))
    return {"x402Version": 2, "payload": signed, "accepted": accepted}


def encode(wire_document: object) -> str:
    """Header value of a document."""
    return base64.b64encode(json.dumps(wire_document).encode()).decode()


def header(paid: protocol.Payment) -> dict[str, str]:
    """Request headers that carry the payment."""
    name = "X-PAYMENT" if paid.version == 1 else "PAYMENT-SIGNATURE"
    return {name: encode(document(paid))}


def used(paid: protocol.Payment) -> dict[str, Any]:
    """The token's event for a used nonce."""
    return _log(paid, [eip3009.AUTHORIZATION_USED, _word(paid.payer), paid.nonce])


def cancelled(paid: protocol.Payment) -> dict[str, Any]:
    """The token's event for a cancelled nonce."""
    return _log(paid, [eip3009.AUTHORIZATION_CANCELED, _word(paid.payer), paid.nonce])


def transfer(
    paid: protocol.Payment, *, to: str | None = None, value: int | None = None
) -> dict[str, Any]:
    """The token's event for a transfer from the payer."""
    topics = [eip3009.TRANSFER, _word(paid.payer), _word(to or paid.pay_to)]
    amount = paid.amount_atomic if value is None else value
    return _log(paid, topics, f"0x{amount:064x}")


def _log(paid: protocol.Payment, topics: list[str], data: str = "0x") -> dict[str, Any]:
    return {"address": paid.asset, "topics": topics, "data": data}


def _word(address: str) -> str:
    return "0x" + abi.address_word(address)


class FakeNode(rpc.Rpc):
    """Answers the JSON-RPC reads of `chain` from what a test put in.

    One block every two seconds; the newest is `head`, at `newest_seconds`.
    """

    def __init__(self, *, head: int = 1000, newest_seconds: int = NOW) -> None:
        super().__init__(rpc.RpcOptions(url="http://127.0.0.1:1"))
        self.head = head
        self.newest_seconds = newest_seconds
        self.receipts: dict[str, dict[str, Any]] = {}
        self.spent: set[str] = set()
        self.code: set[str] = set()
        self.reverting = False
        self.balance_atomic = 10**12  # of whoever is asked for
        self.chain_id: Any = hex(84532)
        self.too_large: set[str] = set()  # transactions whose receipt is more than is read
        self.unavailable = False
        self.calls: list[str] = []

    def mine(
        self, transaction: str, *logs: dict[str, Any], block: int | None = None, status: int = 1
    ) -> None:
        """Put a transaction into a block (the newest unless said)."""
        number = self.head if block is None else block
        self.receipts[transaction] = {
            "transactionHash": transaction,
            "blockNumber": hex(number),
            "status": hex(status),
            "logs": list(logs),
        }
        if status:
            spending = {eip3009.AUTHORIZATION_USED, eip3009.AUTHORIZATION_CANCELED}
            self.spent |= {log["topics"][2] for log in logs if log["topics"][0] in spending}

    def drop(self, transaction: str) -> None:
        """Take a transaction out of the chain, as a reorganisation does."""
        for log in self.receipts.pop(transaction)["logs"]:
            self.spent.discard(log["topics"][2])

    async def call(self, method: str, *params: Any) -> Any:
        """Answer one request."""
        self.calls.append(method)
        if self.unavailable:
            raise errors.ChainUnavailable(method, "down")
        return getattr(self, "_" + method)(*params)

    async def read(self, method: str, *params: Any) -> Any:
        """Answer one request, without a second attempt."""
        return await self.call(method, *params)

    def _eth_getTransactionReceipt(self, transaction: str) -> Any:  # noqa: N802
        if transaction in self.too_large:
            raise errors.ChainUnavailable("eth_getTransactionReceipt", "ValueError")
        return self.receipts.get(transaction)

    def _eth_getBlockByNumber(self, which: str, _full: bool) -> Any:  # noqa: N802
        number = self.head if which == "latest" else int(which, 16)
        age_seconds = 2 * (self.head - number)
        return {"number": hex(number), "timestamp": hex(self.newest_seconds - age_seconds)}

    def _eth_chainId(self) -> Any:  # noqa: N802
        return self.chain_id

    def _eth_getCode(self, address: str, _at: str) -> Any:  # noqa: N802
        return "0x6001" if address in self.code else "0x"

    def _eth_gasPrice(self) -> Any:  # noqa: N802
        return hex(10**9)

    def _eth_call(self, call: dict[str, str], _at: str, _overrides: Any = None) -> Any:
        if call["data"].startswith(eip3009.authorization_state(OUR_ADDRESS, "0x")[:10]):
            return f"0x{int('0x' + call['data'][-64:] in self.spent):064x}"
        if call["data"].startswith(eip3009.balance_of(OUR_ADDRESS)[:10]):
            return hex(self.balance_atomic)
        if self.reverting:
            raise rpc.RpcError("eth_call", 3, "execution reverted")
        return "0x"

    def _eth_getLogs(self, query: dict[str, Any]) -> Any:  # noqa: N802
        lower, upper = int(query["fromBlock"], 16), int(query["toBlock"], 16)
        kinds, *words = query["topics"]
        return [
            {
                **log,
                "transactionHash": transaction,
                "blockNumber": receipt["blockNumber"],
                "logIndex": hex(index),
            }
            for transaction, receipt in self.receipts.items()
            if lower <= int(receipt["blockNumber"], 16) <= upper
            for index, log in enumerate(receipt["logs"])
            if log["topics"][0] in kinds and log["topics"][1:] == words
        ]
