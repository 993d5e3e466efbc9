"""The state of the chain and the machine that changes it: a thin layer over pyrevm.

pyrevm keeps every account warm between calls and neither charges fees nor counts nonces for
message calls. So nonces are kept here, fees are booked by the chain, and gas used is a little
below what a real node reports; nothing in a payment depends on it.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

import pyrevm
from eth_utils.crypto import keccak

BLOCK_GAS_LIMIT = 30_000_000
HARD_FORK = "CANCUN"
ZERO_ADDRESS = "0x" + "00" * 20
WORD = 2**256
CODE_PADDING = 33

REVERT = re.compile(r"^Revert \{ gas_used: (\d+), output: 0x([0-9a-f]*) \}$")
HALT = re.compile(r"^Halt \{ reason: (.+), gas_used: (\d+) \}$")


class Ending(enum.Enum):
    """How an execution ended."""

    SUCCESS = "success"  # effects hold
    REVERT = "revert"  # the contract undid everything and may say why
    HALT = "halt"  # the machine stopped it, out of gas for one
    REJECTED = "rejected"  # it never began: no funds, or too little gas to start


@dataclass(frozen=True, kw_only=True)
class Message:
    """One call or contract creation (`to` is None); value in wei."""

    sender: str = ZERO_ADDRESS
    to: str | None = None
    data: bytes = b""
    value: int = 0
    gas_limit: int = BLOCK_GAS_LIMIT


@dataclass(frozen=True, kw_only=True)
class BlockContext:
    """What contracts can see of the block that they run in; the timestamp in Unix seconds."""

    number: int
    timestamp: int
    base_fee: int
    randomness: bytes


@dataclass(frozen=True, kw_only=True)
class Event:
    """One log entry that a contract emitted."""

    address: str
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What an execution did; `output` is the return data, or the revert data."""

    ending: Ending
    output: bytes = b""
    gas_used: int = 0
    events: tuple[Event, ...] = ()
    created: str | None = None
    reason: str = ""


class Evm:
    """Accounts, code, storage and nonces of one chain at one moment. Not safe across threads."""

    def __init__(self, chain_id: int) -> None:
        env = pyrevm.Env(cfg=pyrevm.CfgEnv(chain_id=chain_id))
        self._machine = pyrevm.EVM(env=env, gas_limit=BLOCK_GAS_LIMIT, spec_id=HARD_FORK)
        self._nonces: dict[str, int] = {}

    def call(self, message: Message, block: BlockContext) -> Outcome:
        """Execute and undo every effect."""
        checkpoint = self._machine.snapshot()
        try:
            return self._run(message, block)
        finally:
            self._machine.revert(checkpoint)

    def execute(self, message: Message, block: BlockContext) -> Outcome:
        """Execute for good; counts the sender's nonce whatever the ending is."""
        outcome = self._run(message, block)
        self._nonces[message.sender] = self.nonce(message.sender) + 1
        return outcome

    def nonce(self, address: str) -> int:
        """How many transactions the account has sent."""
        return self._nonces.get(address, 0)

    def balance(self, address: str) -> int:
        """In wei."""
        checkpoint = self._machine.snapshot()
        try:
            return int(self._machine.get_balance(address))
        finally:
            self._machine.revert(checkpoint)

    def code(self, address: str) -> bytes:
        """Runtime code, empty for a plain account."""
        checkpoint = self._machine.snapshot()
        try:
            code = bytes(self._machine.get_code(address) or b"")
            # revm pads what a creation returned with zeros; the hash is of the real code.
            exact = not code or keccak(code) == self._machine.basic(address).code_hash
            return code if exact else code[:-CODE_PADDING]
        finally:
            self._machine.revert(checkpoint)

    def storage(self, address: str, slot: int) -> int:
        """One word of a contract's storage."""
        checkpoint = self._machine.snapshot()
        try:
            return int(self._machine.storage(address, slot))
        finally:
            self._machine.revert(checkpoint)

    def set_balance(self, address: str, wei: int) -> None:
        """Write a balance directly."""
        self._machine.set_balance(address, wei % WORD)

    def set_code(self, address: str, code: bytes) -> None:
        """Plant runtime code; balance, nonce and storage stay."""
        self._write_account(address, code)

    def set_storage(self, address: str, slot: int, value: int) -> None:
        """Write one word of storage directly."""
        self._machine.insert_account_storage(address, slot, value)

    def _run(self, message: Message, block: BlockContext) -> Outcome:
        self._machine.reset_transient_storage()
        self._machine.set_block_env(
            pyrevm.BlockEnv(
                number=block.number,
                timestamp=block.timestamp,
                basefee=block.base_fee,
                gas_limit=BLOCK_GAS_LIMIT,
                prevrandao=block.randomness,
            )
        )
        try:
            output, created = self._dispatch(message)
        except RuntimeError as error:
            return _failure(str(error), message.gas_limit)
        return _success(self._machine.result, output, created)

    def _dispatch(self, message: Message) -> tuple[bytes, str | None]:
        if message.to is not None:
            output = self._machine.message_call(
                caller=message.sender,
                to=message.to,
                calldata=message.data,
                value=message.value,
                gas=message.gas_limit,
            )
            return bytes(output), None
        # The new contract's address comes from its creator's nonce, so the machine must know it.
        self._write_account(message.sender, self.code(message.sender))
        created = self._machine.deploy(
            deployer=message.sender, code=message.data, value=message.value, gas=message.gas_limit
        )
        return b"", created.lower()

    def _write_account(self, address: str, code: bytes) -> None:
        info = pyrevm.AccountInfo(  # type: ignore[call-arg]  # the stub lacks the balance
            balance=self.balance(address), nonce=self.nonce(address), code=code
        )
        self._machine.insert_account_info(address, info)


def _success(result: pyrevm.ExecutionResult | None, output: bytes, created: str | None) -> Outcome:
    if result is None:
        raise AssertionError("pyrevm ran a call and kept no result")
    return Outcome(
        ending=Ending.SUCCESS,
        output=output,
        gas_used=result.gas_used,
        events=tuple(_event(log) for log in result.logs),
        created=created,
    )


def _event(log: pyrevm.Log) -> Event:
    topics = tuple(bytes.fromhex(topic.removeprefix("0x")) for topic in log.topics)
    return Event(address=log.address.lower(), topics=topics, data=bytes(log.data[1]))


def _failure(text: str, gas_limit: int) -> Outcome:
    if found := REVERT.match(text):
        output = bytes.fromhex(found[2])
        return Outcome(ending=Ending.REVERT, output=output, gas_used=int(found[1]))
    if found := HALT.match(text):
        return Outcome(ending=Ending.HALT, reason=found[1], gas_used=int(found[2]))
    return Outcome(ending=Ending.REJECTED, reason=text, gas_used=gas_limit)
