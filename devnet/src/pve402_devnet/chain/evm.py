"""The EVM that changes the chain's state: py-evm's interpreter with our own accounts.

Follows the rules of Prague, including delegated accounts (EIP-7702). The chain charges the fees,
not this module; gas used matches what a real node reports.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from eth import exceptions
from eth._utils.address import generate_contract_address
from eth._utils.state import code_is_delegation_designation
from eth.abc import ComputationAPI
from eth.vm.execution_context import ExecutionContext
from eth.vm.forks.cancun.transaction_context import CancunTransactionContext
from eth.vm.message import Message as Frame
from eth_typing import Address, BlockNumber, Hash32

from pve402_devnet.chain import gas
from pve402_devnet.chain.accounts import Accounts
from pve402_devnet.chain.interpreter import Interpreter

BLOCK_GAS_LIMIT = 30_000_000
COINBASE = Address(bytes(20))
ZERO_ADDRESS = "0x" + "00" * 20
DELEGATED = b"\xef\x01\x00"
MAX_NONCE = 2**64 - 1
WORD = 2**256


class Ending(enum.Enum):
    """How an execution ended."""

    SUCCESS = "success"  # effects hold
    REVERT = "revert"  # the contract reverted and may say why
    HALT = "halt"  # the EVM stopped it, for example out of gas
    REJECTED = "rejected"  # it never started: no funds, or too little gas


@dataclass(frozen=True, kw_only=True)
class Authorization:
    """An account's request that calls to it run another account's code (EIP-7702).

    `authority` is who signed it, None when nobody did; chain 0 stands for every chain, and the
    zero address ends a delegation.
    """

    chain_id: int
    address: str
    nonce: int
    authority: str | None
    y_parity: int
    r: int
    s: int


@dataclass(frozen=True, kw_only=True)
class Message:
    """One call or contract creation (`to` is None); value in wei, price in wei per gas."""

    sender: str = ZERO_ADDRESS
    to: str | None = None
    data: bytes = b""
    value: int = 0
    gas_limit: int = BLOCK_GAS_LIMIT
    gas_price: int = 0
    access_list: gas.AccessList = ()
    authorizations: tuple[Authorization, ...] = ()


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
    """The result of an execution; `output` is the return data or the revert data."""

    ending: Ending
    output: bytes = b""
    gas_used: int = 0
    gas_spent: int = 0  # before refunds
    events: tuple[Event, ...] = ()
    created: str | None = None
    reason: str = ""


class Evm:
    """Accounts, code, storage and nonces of one chain at one moment. Not safe across threads."""

    def __init__(self, chain_id: int, accounts: Accounts | None = None) -> None:
        self._chain_id = chain_id
        self._accounts = Accounts() if accounts is None else accounts

    def call(self, message: Message, block: BlockContext) -> Outcome:
        """Execute and undo every effect."""
        before = self._accounts.position()
        try:
            return self._run(message, block)
        finally:
            self._accounts.undo(before)

    def execute(self, message: Message, block: BlockContext) -> Outcome:
        """Execute and keep the effects; increments the sender's nonce however it ends."""
        before = self._accounts.position()
        outcome = self._run(message, block)
        self._accounts.finish(before)
        return outcome

    def position(self) -> int:
        """Return the current moment, for `undo` or `copy_at`."""
        return self._accounts.position()

    def undo(self, position: int) -> None:
        """Restore an earlier moment."""
        self._accounts.undo(position)

    def copy_at(self, position: int) -> Evm:
        """The state as it was at an earlier moment."""
        return Evm(self._chain_id, self._accounts.copy_at(position))

    def nonce(self, address: str) -> int:
        """How many transactions the account has sent."""
        return self._accounts.get_nonce(_bytes(address))

    def balance(self, address: str) -> int:
        """In wei."""
        return self._accounts.get_balance(_bytes(address))

    def code(self, address: str) -> bytes:
        """Runtime code, empty for a plain account; of a delegated one 0xef0100 and the delegate."""
        return self._accounts.get_code(_bytes(address))

    def storage(self, address: str, slot: int) -> int:
        """One word of a contract's storage."""
        return self._accounts.get_storage(_bytes(address), slot)

    def set_balance(self, address: str, wei: int) -> None:
        """Write a balance directly."""
        self._accounts.set_balance(_bytes(address), wei % WORD)

    def set_code(self, address: str, code: bytes) -> None:
        """Set runtime code; balance, nonce and storage stay."""
        self._accounts.set_code(_bytes(address), code)

    def set_storage(self, address: str, slot: int, value: int) -> None:
        """Write one word of storage directly."""
        self._accounts.set_storage(_bytes(address), slot, value)

    def _run(self, message: Message, block: BlockContext) -> Outcome:
        accounts, sender = self._accounts, _bytes(message.sender)
        intrinsic = gas.intrinsic(
            message.data,
            creates=message.to is None,
            access_list=message.access_list,
            authorizations=len(message.authorizations),
        )
        nonce = accounts.get_nonce(sender)
        accounts.begin(self._context(block))
        accounts.set_nonce(sender, nonce + 1)
        if message.gas_limit < max(intrinsic, gas.floor(message.data)):
            return _rejected(message, "intrinsic gas too low")
        if accounts.get_balance(sender) < message.value:
            return _rejected(message, "insufficient funds for gas * price + value")
        refund = self._prepare(message, sender)
        prepared = accounts.position()
        try:
            done = self._start(message, sender, nonce, message.gas_limit - intrinsic)
        except RecursionError:  # a few hundred nested calls; a real node allows 1024
            accounts.undo(prepared)
            return Outcome(
                ending=Ending.HALT, reason="call depth exceeded", gas_used=message.gas_limit
            )
        for account in done.get_accounts_for_deletion():
            accounts.delete_account(account)
        return _outcome(message, done, refund)

    def _context(self, block: BlockContext) -> ExecutionContext:
        return ExecutionContext(
            coinbase=COINBASE,
            timestamp=block.timestamp,
            block_number=BlockNumber(block.number),
            difficulty=0,
            mix_hash=Hash32(block.randomness),
            gas_limit=BLOCK_GAS_LIMIT,
            prev_hashes=(),
            chain_id=self._chain_id,
            base_fee_per_gas=block.base_fee,
            excess_blob_gas=0,
        )

    def _prepare(self, message: Message, sender: Address) -> int:
        """Warm the transaction's addresses and slots, write its delegations; returns the refund."""
        self._accounts.mark_address_warm(sender)
        for address, slots in message.access_list:
            self._accounts.mark_address_warm(_bytes(address))
            for slot in slots:
                self._accounts.mark_storage_warm(_bytes(address), slot)
        return sum(self._delegate(wish) for wish in message.authorizations)

    def _delegate(self, wish: Authorization) -> int:
        """Write one delegation if its authorization holds; returns the gas refunded for it."""
        if wish.authority is None or wish.chain_id not in (0, self._chain_id):
            return 0
        accounts, authority = self._accounts, _bytes(wish.authority)
        accounts.mark_address_warm(authority)
        code = accounts.get_code(authority)
        if code and not code_is_delegation_designation(code):
            return 0
        if accounts.get_nonce(authority) != wish.nonce or wish.nonce >= MAX_NONCE:
            return 0
        refund = gas.AUTHORIZATION_REFUND if accounts.account_exists(authority) else 0
        delegate = b"" if wish.address == ZERO_ADDRESS else DELEGATED + _bytes(wish.address)
        accounts.set_code(authority, delegate)
        accounts.increment_nonce(authority)
        return refund

    def _start(
        self, message: Message, sender: Address, nonce: int, gas_left: int
    ) -> ComputationAPI:
        context = CancunTransactionContext(gas_price=message.gas_price, origin=sender)
        if message.to is None:
            return self._create(message, sender, nonce, gas_left, context)
        to = _bytes(message.to)
        self._accounts.mark_address_warm(to)
        code, source = self._accounts.get_code(to), to
        if code_is_delegation_designation(code):
            source = Address(code[len(DELEGATED) :])
            self._accounts.mark_address_warm(source)
            code = self._accounts.get_code(source)
        frame = Frame(
            gas=gas_left,
            to=to,
            sender=sender,
            value=message.value,
            data=message.data,
            code=code,
            code_address=source,
            is_delegation=source != to,
        )
        return Interpreter.apply_message(self._accounts, frame, context)

    def _create(
        self,
        message: Message,
        sender: Address,
        nonce: int,
        gas_left: int,
        context: CancunTransactionContext,
    ) -> ComputationAPI:
        created = generate_contract_address(sender, nonce)
        self._accounts.mark_address_warm(created)
        frame = Frame(
            gas=gas_left,
            to=Address(b""),
            sender=sender,
            value=message.value,
            data=b"",
            code=message.data,
            create_address=created,
        )
        return Interpreter.apply_create_message(self._accounts, frame, context)


def _outcome(message: Message, done: ComputationAPI, refund: int) -> Outcome:
    spent = message.gas_limit - done.get_gas_remaining()
    refunds = (refund, done.get_gas_refund())
    used = gas.used(spent=spent, refunds=refunds, least=gas.floor(message.data))
    if done.is_error:
        if isinstance(done.error, exceptions.Revert):
            return Outcome(ending=Ending.REVERT, output=bytes(done.output), gas_used=used)
        reason = "out of gas" if isinstance(done.error, exceptions.OutOfGas) else str(done.error)
        return Outcome(ending=Ending.HALT, reason=reason, gas_used=used)
    created = None if message.to is not None else "0x" + done.msg.storage_address.hex()
    return Outcome(
        ending=Ending.SUCCESS,
        output=bytes(done.output),
        gas_used=used,
        gas_spent=spent,
        events=tuple(_event(*entry) for entry in done.get_log_entries()),
        created=created,
    )


def _event(address: bytes, topics: tuple[int, ...], data: bytes) -> Event:
    words = tuple(topic.to_bytes(32, "big") for topic in topics)
    return Event(address="0x" + address.hex(), topics=words, data=bytes(data))


def _rejected(message: Message, reason: str) -> Outcome:
    return Outcome(ending=Ending.REJECTED, reason=reason, gas_used=message.gas_limit)


def _bytes(address: str) -> Address:
    return Address(bytes.fromhex(address[2:]))
