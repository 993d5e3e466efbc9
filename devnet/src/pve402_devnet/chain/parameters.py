"""Parses the parameters of JSON-RPC calls; checks everything and names what is wrong."""

from __future__ import annotations

import re
from typing import Any

from pve402_devnet.chain import jsonrpc
from pve402_devnet.chain.blocks import Block
from pve402_devnet.chain.chain import Chain, UnknownBlock
from pve402_devnet.chain.evm import BLOCK_GAS_LIMIT, ZERO_ADDRESS, Message

ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")
HASH = re.compile(r"0x[0-9a-fA-F]{64}\Z")
DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*\Z")
QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}\Z")
NEWEST = ("latest", "pending", "safe", "finalized")


class Parameters:
    """The parameters of one call; each reader takes a position and may raise jsonrpc.RpcError."""

    def __init__(self, chain: Chain, values: list[Any]) -> None:
        self._chain = chain
        self._values = values

    def raw(self, index: int, default: Any = None) -> Any:
        """Any value; null counts as absent."""
        value = self._values[index] if index < len(self._values) else None
        return default if value is None else value

    def address(self, index: int) -> str:
        """An address, in lower case."""
        return address(self.raw(index))

    def hash(self, index: int) -> bytes:
        """32 bytes."""
        value = self.raw(index)
        if not isinstance(value, str) or not HASH.match(value):
            raise jsonrpc.invalid_params(f"parameter {index} must be a 32-byte hash")
        return bytes.fromhex(value[2:])

    def data(self, index: int) -> bytes:
        """Bytes of any length."""
        return data(self.raw(index))

    def quantity(self, index: int, default: int | None = None) -> int:
        """A number, in hexadecimal or as JSON number (tools send both)."""
        return quantity(self.raw(index, default))

    def flag(self, index: int, *, default: bool = False) -> bool:
        """A boolean."""
        value = self.raw(index, default)
        if not isinstance(value, bool):
            raise jsonrpc.invalid_params(f"parameter {index} must be a boolean")
        return value

    def mapping(self, index: int) -> dict[str, Any]:
        """An object, empty when absent."""
        value = self.raw(index, {})
        if not isinstance(value, dict):
            raise jsonrpc.invalid_params(f"parameter {index} must be an object")
        return value

    def numbers(self, index: int) -> list[float]:
        """A list of JSON numbers, empty when absent."""
        values = self.raw(index, [])
        if not isinstance(values, list) or any(type(value) not in (int, float) for value in values):
            raise jsonrpc.invalid_params(f"parameter {index} must be a list of numbers")
        return values

    def block_number(self, index: int) -> int | None:
        """A block tag, number or hash (EIP-1898); None is the newest state, writes included."""
        value = self.raw(index, "latest")
        if value in NEWEST:
            return None
        return self.block(value).number

    def block(self, value: Any) -> Block:
        """The block that a tag, number or EIP-1898 object names."""
        if isinstance(value, dict):
            return self._block_of_object(value)
        try:
            if value in NEWEST:
                return self._chain.head
            return self._chain.block(0 if value == "earliest" else quantity(value))
        except UnknownBlock as error:
            raise jsonrpc.RpcError(code=jsonrpc.SERVER_ERROR, message="header not found") from error

    def message(self, index: int) -> Message:
        """The call object of eth_call and eth_estimateGas."""
        call = {name: value for name, value in self.mapping(index).items() if value is not None}
        return Message(
            sender=address(call.get("from", ZERO_ADDRESS)),
            to=address(call["to"]) if "to" in call else None,
            data=data(call.get("input", call.get("data", "0x"))),
            value=quantity(call.get("value", 0)),
            gas_limit=min(quantity(call.get("gas", BLOCK_GAS_LIMIT)), BLOCK_GAS_LIMIT),
        )

    def _block_of_object(self, value: dict[str, Any]) -> Block:
        if "blockHash" not in value:
            return self.block(value.get("blockNumber"))
        wanted = value["blockHash"]
        if not isinstance(wanted, str) or not HASH.match(wanted):
            raise jsonrpc.invalid_params("blockHash must be a 32-byte hash")
        try:
            return self._chain.block_by_hash(bytes.fromhex(wanted[2:]))
        except UnknownBlock as error:
            raise jsonrpc.RpcError(code=jsonrpc.SERVER_ERROR, message=str(error)) from error


def address(value: Any) -> str:
    """An address in lower case; the checksum of mixed case is not checked, as in real nodes."""
    if not isinstance(value, str) or not ADDRESS.match(value):
        raise jsonrpc.invalid_params("expected a 20-byte address")
    return value.lower()


def data(value: Any) -> bytes:
    """Bytes in hexadecimal."""
    if not isinstance(value, str) or not DATA.match(value):
        raise jsonrpc.invalid_params("expected bytes in hexadecimal with 0x")
    return bytes.fromhex(value[2:])


def quantity(value: Any) -> int:
    """A number that is not negative and fits 256 bits."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**256:
        return value
    if not isinstance(value, str) or not QUANTITY.match(value):
        raise jsonrpc.invalid_params("expected a number in hexadecimal with 0x")
    return int(value, 16)
