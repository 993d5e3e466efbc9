"""The chain itself: its blocks, time, mining and rollback."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from eth_utils.crypto import keccak

from pve402_devnet.chain import contracts, execution, transactions
from pve402_devnet.chain.blocks import ZERO_HASH, Block, Receipt
from pve402_devnet.chain.evm import BLOCK_GAS_LIMIT, BlockContext, Evm, Message, Outcome
from pve402_devnet.chain.history import History, Mark
from pve402_devnet.chain.mempool import AccountView, Mempool, Rejected, Rules
from pve402_devnet.chain.options import ChainOptions
from pve402_devnet.chain.transactions import Transaction

MAX_TIME = 2**64 - 1
"""Block headers hold times in 64 bits."""


class UnknownBlock(LookupError):
    """The chain has no such block."""


class Chain:
    """One chain with its pool. Hold `lock` around anything that must be atomic."""

    def __init__(self, options: ChainOptions, *, clock: Callable[[], float] = time.time) -> None:
        self.options = options
        self.lock = threading.RLock()
        self.automine = options.automine
        self._clock = clock
        self._clock_offset = 0
        self._next_timestamp: int | None = None
        rules = Rules(
            chain_id=options.chain_id, base_fee=options.base_fee, block_gas_limit=BLOCK_GAS_LIMIT
        )
        self.pool = Mempool(rules)
        self._history = History(options.chain_id)
        self._blocks: list[Block] = []
        self._by_hash: dict[bytes, Block] = {}
        self._receipts: dict[bytes, tuple[Block, Receipt]] = {}
        self._snapshots: dict[int, Mark] = {}
        for address, name in contracts.PLANTED.items():
            self.set_code(address.lower(), contracts.load(name).runtime_code)
        self._append(())

    # Reading

    @property
    def head(self) -> Block:
        """The newest block."""
        return self._blocks[-1]

    def block(self, number: int) -> Block:
        """Return the block at that height.

        Raises:
            UnknownBlock: below zero or above the head.
        """
        if not 0 <= number < len(self._blocks):
            raise UnknownBlock(f"block {number} is not on this chain")
        return self._blocks[number]

    def block_by_hash(self, block_hash: bytes) -> Block:
        """Return the block with that hash, if it is currently on the chain.

        Raises:
            UnknownBlock: it is not.
        """
        try:
            return self._by_hash[block_hash]
        except KeyError:
            raise UnknownBlock("unknown block") from None

    def receipt(self, transaction_hash: bytes) -> tuple[Block, Receipt] | None:
        """Return where a mined transaction is and what it did."""
        return self._receipts.get(transaction_hash)

    def now(self) -> int:
        """Chain time in Unix seconds: the time a block would get now, never before the head's."""
        return max(int(self._clock()) + self._clock_offset, self.head.timestamp)

    def state(self, number: int | None = None) -> Evm:
        """The state after that block, or the newest one (None), direct writes included."""
        if number is None or number == self.head.number:
            return self._history.state
        return self._history.state_after(self.block(number).number)

    def call(self, message: Message, number: int | None = None) -> Outcome:
        """Execute on top of a block, without effect; on the head, with the current time.

        Real chains make a block every two seconds even when nothing happens, so their head is
        never old; a chain that waits for transactions must not answer with an old time.
        """
        if number is None or number == self.head.number:
            context = replace(self.head.context(), timestamp=self.now())
            return self.state().call(message, context)
        return self.state(number).call(message, self.block(number).context())

    # Transactions and mining

    def submit(self, raw: bytes) -> bytes:
        """Accept a signed transaction; with automine its block exists when this returns.

        Raises: transactions.InvalidTransaction: it cannot be decoded. mempool.Rejected: wrong
        nonce, or insufficient fees or funds.
        """
        transaction = transactions.decode(raw)
        self.pool.add(transaction, self._view(transaction.sender))
        if self.automine:
            self.mine_waiting()
        return transaction.hash

    def act(self, *, sender: str, to: str, data: bytes) -> bytes:
        """Run a transaction of an account without a key, such as the minter, in its own block.

        Raises:
            mempool.Rejected: the contract refused it.
        """
        transaction = transactions.unsigned(
            sender=sender,
            to=to,
            nonce=self.state().nonce(sender.lower()),
            data=data,
            gas_limit=BLOCK_GAS_LIMIT,
        )
        block = self._append((transaction,))
        if not block.receipts[0].succeeded:
            raise Rejected("the contract refused the transaction")
        return transaction.hash

    def mine(self, timestamp: int | None = None) -> Block:
        """Make one block from all waiting transactions that can run now.

        Raises:
            ValueError: the timestamp lies before the head's, or no block could hold it.
        """
        if timestamp is not None:
            self.set_next_timestamp(timestamp)
        return self._append(tuple(self._take_from_pool()))

    def mine_waiting(self) -> None:
        """Make a block if any transaction can run now."""
        if taken := self._take_from_pool():
            self._append(tuple(taken))

    # Time

    def increase_time(self, seconds: int) -> int:
        """Move chain time ahead of the clock; returns the total lead in seconds.

        Raises:
            ValueError: no block could hold the time.
        """
        if self.now() + seconds > MAX_TIME:
            raise ValueError("a block's time has 64 bits")
        self._clock_offset += seconds
        return self._clock_offset

    def set_next_timestamp(self, timestamp: int) -> None:
        """Give the next block this time; later ones follow from there.

        Raises:
            ValueError: it lies before the head's, or no block could hold it.
        """
        if timestamp > MAX_TIME:
            raise ValueError("a block's time has 64 bits")
        if timestamp < self.head.timestamp:
            raise ValueError(f"timestamp {timestamp} is before the head's {self.head.timestamp}")
        self._next_timestamp = timestamp

    # Writing state directly

    def set_code(self, address: str, code: bytes) -> None:
        """Put code at an address."""
        self._history.plant(lambda state: state.set_code(address, code))

    def set_balance(self, address: str, wei: int) -> None:
        """Set an account's balance."""
        self._history.plant(lambda state: state.set_balance(address, wei))

    def set_storage(self, address: str, slot: int, value: int) -> None:
        """Write one word of a contract's storage."""
        self._history.plant(lambda state: state.set_storage(address, slot, value))

    # Going back

    def snapshot(self) -> int:
        """Take a snapshot; returns its number."""
        number = max(self._snapshots, default=-1) + 1
        self._snapshots[number] = self._history.mark()
        return number

    def revert(self, number: int) -> bool:
        """Restore a snapshot, which uses up it and all later ones; false if it is unknown."""
        if number not in self._snapshots:
            return False
        mark = self._snapshots[number]
        self._snapshots = {n: kept for n, kept in self._snapshots.items() if n < number}
        self._forget_blocks(mark.height)
        self._history.return_to(mark)
        self.pool.clear()
        return True

    def reorganise(self, depth: int, *, requeue: bool = False) -> list[Transaction]:
        """Drop the newest blocks, as if another branch had won; returns their transactions.

        Directly written state survives, snapshots do not. The dropped transactions are lost, or
        with `requeue` return to the pool for the next block, as on a real chain.

        Raises: UnknownBlock: there are fewer blocks above the first.
        """
        if not 0 < depth < len(self._blocks):
            raise UnknownBlock(f"cannot drop {depth} of {len(self._blocks) - 1} blocks")
        height = len(self._blocks) - depth
        dropped = [r.transaction for block in self._blocks[height:] for r in block.receipts]
        self._snapshots.clear()
        self._forget_blocks(height)
        self._history.drop_blocks(height)
        for transaction in dropped if requeue else ():
            self.pool.add(transaction, self._view(transaction.sender))
        return dropped

    # Inside

    def _view(self, sender: str) -> AccountView:
        state = self.state()
        return AccountView(nonce=state.nonce(sender), balance=state.balance(sender))

    def _take_from_pool(self) -> list[Transaction]:
        nonces: dict[str, int] = {}

        def next_of(sender: str) -> int:
            return nonces.get(sender, self.state().nonce(sender))

        taken = []
        gas = 0
        for transaction in self.pool.executable(next_of):
            nonces[transaction.sender] = transaction.nonce + 1
            gas += transaction.gas_limit
            taken.append(transaction)
            if gas >= BLOCK_GAS_LIMIT:
                break
        return taken

    def _append(self, chosen: tuple[Transaction, ...]) -> Block:
        number = len(self._blocks)
        context = BlockContext(
            number=number,
            timestamp=self._take_timestamp(),
            base_fee=self.options.base_fee if number else 0,
            randomness=keccak(secrets.token_bytes(32)),
        )
        receipts: list[Receipt] = []
        for transaction in chosen:
            receipts.append(execution.run(self._history.state, transaction, context, receipts))
        block = Block(
            number=number,
            parent_hash=self._blocks[-1].hash if self._blocks else ZERO_HASH,
            timestamp=context.timestamp,
            base_fee=context.base_fee,
            randomness=context.randomness,
            receipts=tuple(receipts),
        )
        self._blocks.append(block)
        self._history.end_block()
        self._by_hash[block.hash] = block
        self._receipts.update({r.transaction.hash: (block, r) for r in receipts})
        return block

    def _take_timestamp(self) -> int:
        if self._next_timestamp is None:
            return self.now() if self._blocks else int(self._clock())
        timestamp, self._next_timestamp = self._next_timestamp, None
        self._clock_offset = timestamp - int(self._clock())
        return timestamp

    def _forget_blocks(self, height: int) -> None:
        for block in self._blocks[height:]:
            self._by_hash.pop(block.hash, None)
            for receipt in block.receipts:
                self._receipts.pop(receipt.transaction.hash, None)
        del self._blocks[height:]
