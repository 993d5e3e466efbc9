"""Calling the devnet's contracts by name, without a key and without gas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

from pve402_devnet.chain import SimulatedChain, contracts, jsonrpc
from pve402_devnet.chain.blocks import Receipt
from pve402_devnet.chain.mempool import Rejected

STRANGER = "0x" + "57" * 20
AUTHORIZATION = "address,address,uint256,uint256,uint256,bytes32"
FORMS = {"vrs": "uint8,bytes32,bytes32", "bytes": "bytes"}


class Reverted(Exception):
    """The contract refused; the text is its reason."""


@dataclass(frozen=True, kw_only=True)
class ContractCaller:
    """One planted or deployed contract; functions are named by their full signature."""

    chain: SimulatedChain
    address: str = contracts.USDC_ADDRESS

    def read(self, signature: str, *values: Any, returns: str, sender: str = STRANGER) -> Any:
        """Call without effect and decode one value; raises Reverted."""
        question = {
            "from": sender,
            "to": self.address,
            "data": "0x" + call_data(signature, values).hex(),
        }
        try:
            answer = self.chain.rpc("eth_call", question, "latest")
        except jsonrpc.RpcError as error:
            raise Reverted(error.message) from error
        return decode([returns], bytes.fromhex(answer[2:]))[0]

    def write(self, signature: str, *values: Any, sender: str = STRANGER) -> Receipt:
        """Run in a block of its own; raises Reverted with the reason."""
        data = call_data(signature, values)
        question = {"from": sender, "to": self.address, "data": "0x" + data.hex()}
        try:
            self.chain.rpc("eth_call", question, "latest")
        except jsonrpc.RpcError as error:
            raise Reverted(error.message) from error
        try:
            done = self.chain.chain.act(sender=sender.lower(), to=self.address, data=data)
        except Rejected as error:
            raise Reverted(str(error)) from error
        found = self.chain.chain.receipt(done)
        assert found is not None
        return found[1]

    def authorize(
        self,
        message: dict[str, Any],
        signature: bytes,
        *,
        form: str = "vrs",
        function: str = "transferWithAuthorization",
        sender: str = STRANGER,
    ) -> Receipt:
        """Submit a signed transfer in one of its two forms."""
        proof = split(signature) if form == "vrs" else (signature,)
        name = f"{function}({AUTHORIZATION},{FORMS[form]})"
        return self.write(name, *message.values(), *proof, sender=sender)

    def cancel(self, message: dict[str, Any], signature: bytes, *, form: str = "vrs") -> Receipt:
        """Submit a signed cancellation in one of its two forms."""
        proof = split(signature) if form == "vrs" else (signature,)
        return self.write(
            f"cancelAuthorization(address,bytes32,{FORMS[form]})", *message.values(), *proof
        )

    def is_spent(self, authorizer: str, nonce: bytes) -> bool:
        """The token's authorizationState."""
        signature = "authorizationState(address,bytes32)"
        return bool(self.read(signature, authorizer, nonce, returns="bool"))


def split(signature: bytes) -> tuple[int, bytes, bytes]:
    """65 signature bytes as v, r, s."""
    return signature[64], signature[:32], signature[32:64]


def topic(signature: str) -> bytes:
    """The first topic of an event."""
    return bytes(keccak(text=signature))


def word(address: str) -> bytes:
    """An address as an indexed topic."""
    return bytes.fromhex(address[2:]).rjust(32, b"\0")


def call_data(signature: str, values: tuple[Any, ...]) -> bytes:
    """What a call of that function with those values sends."""
    inside = signature[signature.index("(") + 1 : -1]
    types = inside.split(",") if inside else []
    return bytes(keccak(text=signature)[:4] + encode(types, values))
