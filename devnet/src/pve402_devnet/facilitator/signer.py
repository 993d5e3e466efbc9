"""The facilitator's access to the chain: reads, ordered signed transactions, receipts.

It implements the signer protocol of the x402 SDK. It reads a nonce from the chain and uses it under
one lock, so that neither a failed broadcast nor a concurrent settlement leaves a gap.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from eth_abi.abi import decode
from x402.mechanisms.evm.multicall import encode_contract_call
from x402.mechanisms.evm.types import TransactionReceipt
from x402.mechanisms.evm.verify import verify_typed_data_strict

from pve402_devnet.facilitator import wallet
from pve402_devnet.facilitator.node import CallNode

Abi = list[dict[str, Any]]

BALANCE_OF = "0x70a08231"
GAS_LIMIT = 1_000_000  # enough to also deploy a contract wallet
FEE_FACTOR = 2
POLL_SECONDS = 0.02


class ReceiptTimeout(Exception):
    """The transaction was broadcast, but no block included it in time."""


class NodeSigner:
    """One key on one chain, behind any node."""

    def __init__(
        self, *, call_node: CallNode, private_key: str, receipt_timeout_seconds: float
    ) -> None:
        self._call_node = call_node
        self._wallet = wallet.Wallet(private_key)
        self._chain_id: int | None = None
        self._receipt_timeout_seconds = receipt_timeout_seconds
        self._sending = threading.Lock()
        self._closing = threading.Event()

    def close(self) -> None:
        """Abandon every wait for a receipt."""
        self._closing.set()

    def get_addresses(self) -> list[str]:
        """The one address this signer pays gas from."""
        return [self._wallet.address]

    def get_chain_id(self) -> int:
        """Of the chain behind the node."""
        if self._chain_id is None:
            self._chain_id = int(self._call_node("eth_chainId"), 16)
        return self._chain_id

    def get_code(self, address: str) -> bytes:
        """Runtime code of an account, empty for a plain one."""
        return bytes.fromhex(self._call_node("eth_getCode", address, "latest")[2:])

    def get_balance(self, address: str, token_address: str) -> int:
        """Of a token, in its atomic units."""
        call = {"to": token_address, "data": BALANCE_OF + address[2:].lower().rjust(64, "0")}
        return int(self._call_node("eth_call", call, "latest"), 16)

    def read_contract(self, address: str, abi: Abi, function_name: str, *args: Any) -> Any:
        """Call a function without effect and decode what it returns."""
        content = encode_contract_call(abi, function_name, *args)
        answer = self._call_node("eth_call", self._question(address, content), "latest")
        types = [_type(output) for output in _function(abi, function_name)["outputs"]]
        values = decode(types, bytes.fromhex(answer[2:]))
        return values[0] if len(values) == 1 else values or None

    def write_contract(
        self,
        address: str,
        abi: Abi,
        function_name: str,
        *args: Any,
        data_suffix: str | None = None,
    ) -> str:
        """Broadcast a call of that function; returns the transaction's hash."""
        suffix = bytes.fromhex((data_suffix or "").removeprefix("0x"))
        return self.send_transaction(
            address, encode_contract_call(abi, function_name, *args) + suffix
        )

    def send_transaction(self, to: str, data: bytes) -> str:
        """Broadcast a transaction; refuse it before spending gas if it would revert."""
        with self._sending:
            self._call_node("eth_call", self._question(to, data), "latest")
            fee = int(self._call_node("eth_gasPrice"), 16) * FEE_FACTOR
            count = self._call_node("eth_getTransactionCount", self._wallet.address, "pending")
            raw = self._wallet.sign(
                chain_id=self.get_chain_id(),
                nonce=int(count, 16),
                fee_per_gas=fee,
                gas_limit=GAS_LIMIT,
                to=to,
                data=data,
            )
            return str(self._call_node("eth_sendRawTransaction", "0x" + raw.hex()))

    def wait_for_transaction_receipt(self, tx_hash: str) -> TransactionReceipt:
        """Wait until a block holds the transaction.

        Raises: ReceiptTimeout: no block does in time.
        """
        deadline = time.monotonic() + self._receipt_timeout_seconds
        while (found := self._call_node("eth_getTransactionReceipt", tx_hash)) is None:
            if self._closing.wait(POLL_SECONDS) or time.monotonic() >= deadline:
                raise ReceiptTimeout("no receipt in time")
        return TransactionReceipt(
            status=int(found["status"], 16),
            block_number=int(found["blockNumber"], 16),
            tx_hash=tx_hash,
            logs=found["logs"],
        )

    def verify_typed_data(
        self,
        address: str,
        domain: Any,
        types: Any,
        primary_type: str,
        message: dict[str, Any],
        signature: bytes,
    ) -> bool:
        """Check an EIP-712 signature as an on-chain token would."""
        return bool(
            verify_typed_data_strict(self, address, domain, types, primary_type, message, signature)
        )

    def _question(self, to: str, data: bytes) -> dict[str, str]:
        return {"from": self._wallet.address, "to": to, "data": "0x" + data.hex()}


def _function(abi: Abi, name: str) -> dict[str, Any]:
    return next(item for item in abi if item.get("type") == "function" and item["name"] == name)


def _type(item: dict[str, Any]) -> str:
    """The canonical type of an ABI entry, with tuples written out."""
    kind = str(item["type"])
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(_type(component) for component in item["components"])
    return f"({inner}){kind.removeprefix('tuple')}"
