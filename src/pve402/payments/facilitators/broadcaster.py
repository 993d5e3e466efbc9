"""Gets transactions of one account into blocks: in order, without gaps, from many tasks at once.

Each transaction is claimed in the store (nonce, signed bytes and hash) before the node hears of
it. What is claimed is owed to the chain: when a node's answer is unclear, the same bytes are sent
again, which the chain takes once; when they do not get in, a dearer version with the same nonce.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

import structlog

from pve402.payments import errors, rpc
from pve402.payments.facilitators import transactions
from pve402.payments.facilitators.nonces import SignedTransaction, SignerNonces
from pve402.payments.facilitators.transactions import SigningKey, Transaction
from pve402.payments.payment import PaymentKey

log = structlog.get_logger(__name__)

_CLAIM_ATTEMPTS: Final = 50
_FINAL_BLOCKS: Final = 12
_FEES_SECONDS: Final = 1.0
_BUMP_PERCENT: Final = 25  # nodes ask for 10 to 12.5 more before they replace a transaction

RecordTransaction = Callable[[PaymentKey, str], Awaitable[None]]
"""Stores a payment's transaction hash; awaited before the transaction is broadcast."""


class NotBroadcast(errors.PaymentError):
    """The transaction was surely not taken by the node, and its nonce is free again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TooMuchGas(NotBroadcast):
    """The call needs more gas than is allowed; nothing was signed."""

    def __init__(self) -> None:
        super().__init__("needs_too_much_gas")


class _Answer(Enum):
    """What a node's answer to a broadcast means."""

    TAKEN = "taken"  # in its pool, or in a block
    UNCLEAR = "unclear"  # no answer; it may have been taken
    NONCE_PASSED = "nonce_passed"  # the account is further on: somebody else signs with the key
    REFUSED = "refused"  # surely not in the pool


@dataclass(frozen=True, kw_only=True, slots=True)
class FeeOptions:
    """What a transaction may cost."""

    max_fee_per_gas_wei: int = 100 * 10**9
    """Cap. A dearer chain is waited out."""
    priority_fee_per_gas_wei: int = 10**6
    """Tip; rollups need next to none. The node's own suggestion is used when higher."""
    max_priority_fee_per_gas_wei: int = 5 * 10**9
    max_gas: int = 500_000
    """A plain transfer takes 60,000 to 90,000; contract wallets' checks come on top."""


class Broadcaster:
    """One account on one chain."""

    def __init__(
        self,
        endpoint: rpc.Rpc,
        key: SigningKey,
        nonces: SignerNonces,
        *,
        chain_id: int,
        fees: FeeOptions,
        record_transaction: RecordTransaction,
    ) -> None:
        self._rpc = endpoint
        self._key = key
        self._nonces = nonces
        self._chain_id = chain_id
        self._fees = fees
        self._record = record_transaction
        self._in_order = asyncio.Lock()
        self._synchronized = False
        self._current, self._fees_expire_at = (0, 0), 0.0
        self._underway: set[asyncio.Task[SignedTransaction]] = set()

    @property
    def address(self) -> str:
        """The account that pays for gas, lower case."""
        return self._key.address

    async def send(self, payment: PaymentKey, *, to: str, data: str) -> SignedTransaction:
        """Sign and broadcast one call. When it returns, the transaction is owed to the chain.

        A caller that is cancelled meanwhile does not stop it half-way: a nonce that is claimed
        and not broadcast would hold up all later ones.

        Raises:
            RpcError: the node's simulation of the call failed; nothing was signed.
            TooMuchGas: it would take more gas than is allowed; nothing was signed.
            NotBroadcast: the node did not take it.
            ChainUnavailable: the node did not answer before anything was signed.
        """
        tip, max_fee = await self._current_fees()
        gas_limit = await self._estimate_gas(to, data)
        draft = Transaction(
            chain_id=self._chain_id,
            nonce=0,
            priority_fee_per_gas_wei=tip,
            max_fee_per_gas_wei=max_fee,
            gas_limit=gas_limit,
            to=to,
            data=data,
        )
        task = asyncio.create_task(self._send_in_turn(payment, draft))
        self._underway.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def simulated(self, to: str, data: str) -> dict[str, str]:
        """The call as its transaction would be: our sender, our gas, fees that are paid.

        A contract can tell a question from a transaction by each of them, and answer otherwise.

        Raises:
            NotBroadcast: the chain's fees are above the cap.
            ChainUnavailable: the node did not answer.
        """
        tip, max_fee = await self._current_fees()
        return {
            "from": self.address,
            "to": to,
            "data": data,
            "gas": hex(self._fees.max_gas),
            "maxFeePerGas": hex(max_fee),
            "maxPriorityFeePerGas": hex(tip),
        }

    async def send_again(self, signed: SignedTransaction) -> bool:
        """Broadcast the same bytes again; the chain takes them once.

        False when they can never get in any more: the account has used the nonce otherwise.
        """
        answer = await self._broadcast(signed)
        return answer is not _Answer.NONCE_PASSED or await self._is_mined(signed)

    async def outbid(self, signed: SignedTransaction, *, to: str, data: str) -> SignedTransaction:
        """Replace a stuck transaction by a dearer one with the same nonce, within the cap.

        Gives the transaction that now stands for the nonce: the same one when the cap is reached
        or the nonce is no longer open.
        """
        tip, max_fee = map(_bumped, transactions.fees_of(signed.raw))
        if max_fee > self._fees.max_fee_per_gas_wei:
            return signed
        draft = Transaction(
            chain_id=self._chain_id,
            nonce=signed.nonce,
            priority_fee_per_gas_wei=min(tip, max_fee),
            max_fee_per_gas_wei=max_fee,
            gas_limit=self._fees.max_gas,
            to=to,
            data=data,
        )
        dearer = self._sign(signed.payment, draft)
        if not await self._nonces.replace(dearer):
            return signed
        await self._record(dearer.payment, dearer.transaction)
        answer = await self._broadcast(dearer)
        log.info("transaction_outbid", transaction=dearer.transaction, answer=answer.value)
        return dearer

    async def sweep(self) -> int:
        """Forget what is final, broadcast again what is in no block; give how many those were.

        For start-up and from time to time. It completes the work of a process that ended between
        claim and broadcast, and brings back what a reorganisation of the chain threw out.

        Raises:
            ChainUnavailable: the node did not answer.
        """
        newest = rpc.quantity("eth_blockNumber", await self._rpc.read("eth_blockNumber"))
        final = await self._count(hex(max(0, newest - _FINAL_BLOCKS)))
        await self._nonces.confirm(self._chain_id, self.address, final)
        async with self._in_order:
            mined = await self._count("latest")
            opened = await self._nonces.unconfirmed(self._chain_id, self.address)
            waiting = [signed for signed in opened if signed.nonce >= mined]
            for signed in waiting:
                await self._broadcast(signed)
        return len(waiting)

    async def close(self) -> None:
        """Wait for broadcasts that are under way."""
        await asyncio.gather(*self._underway, return_exceptions=True)

    async def _send_in_turn(self, payment: PaymentKey, draft: Transaction) -> SignedTransaction:
        async with self._in_order:  # broadcasts leave in the order of their nonces
            floor = 0
            for _attempt in range(_CLAIM_ATTEMPTS):
                nonce = max(floor, await self._free_nonce())
                signed = self._sign(payment, replace(draft, nonce=nonce))
                if not await self._nonces.claim(signed):
                    continue  # another process was faster; the next number
                await self._record(payment, signed.transaction)
                if await self._is_owed(signed):
                    return signed
                floor = nonce + 1
        raise NotBroadcast("no nonce could be claimed")

    async def _is_owed(self, signed: SignedTransaction) -> bool:
        """Broadcast what was just claimed. False: the nonce is somebody else's, take another.

        Raises:
            NotBroadcast: the node refused it, and the nonce is free again.
        """
        answer = await self._broadcast(signed)
        if answer in (_Answer.TAKEN, _Answer.UNCLEAR):
            return True
        if answer is _Answer.NONCE_PASSED and await self._is_mined(signed):
            return True  # another process swept it up meanwhile
        self._synchronized = False
        withdrawn = await self._nonces.withdraw(signed)
        if answer is _Answer.REFUSED and withdrawn:
            raise NotBroadcast("the node refused the transaction")
        return answer is _Answer.REFUSED  # later nonces wait for this one, so it goes out again

    async def _is_mined(self, signed: SignedTransaction) -> bool:
        found = await self._rpc.read("eth_getTransactionReceipt", signed.transaction)
        return found is not None

    def _done(self, task: "asyncio.Task[SignedTransaction]") -> None:
        self._underway.discard(task)
        if not task.cancelled():
            task.exception()  # seen here when the caller has gone

    async def _free_nonce(self) -> int:
        claimed = await self._nonces.next_nonce(self._chain_id, self.address)
        if claimed is not None and self._synchronized:
            return claimed
        on_chain = await self._count("pending")
        self._synchronized = True
        return max(on_chain, claimed or 0)

    async def _count(self, at: str) -> int:
        answer = await self._rpc.read("eth_getTransactionCount", self.address, at)
        return rpc.quantity("eth_getTransactionCount", answer)

    async def _estimate_gas(self, to: str, data: str) -> int:
        call = await self.simulated(to, data)
        try:
            gas = rpc.quantity("eth_estimateGas", await self._rpc.read("eth_estimateGas", call))
        except rpc.RpcError as error:
            if error.out_of_gas:
                raise TooMuchGas from error
            raise
        if gas > self._fees.max_gas:
            raise TooMuchGas
        return min(gas * 5 // 4, self._fees.max_gas)

    async def _current_fees(self) -> tuple[int, int]:
        """Tip and maximum fee per gas; asked for once a second, for many settle at once."""
        now = asyncio.get_running_loop().time()
        if now >= self._fees_expire_at:
            self._current = await self._ask_fees()
            self._fees_expire_at = now + _FEES_SECONDS
        return self._current

    async def _ask_fees(self) -> tuple[int, int]:
        block, suggested = await asyncio.gather(
            self._rpc.read("eth_getBlockByNumber", "latest", False), self._suggested_tip()
        )
        if not isinstance(block, dict):
            raise errors.ChainUnavailable("eth_getBlockByNumber", "an answer of another shape")
        base_fee = rpc.quantity("eth_getBlockByNumber", block.get("baseFeePerGas", "0x0"))
        tip = max(suggested, self._fees.priority_fee_per_gas_wei)
        tip = min(tip, self._fees.max_priority_fee_per_gas_wei)
        if base_fee + tip > self._fees.max_fee_per_gas_wei:
            raise NotBroadcast("the chain's fees are above the cap")
        return tip, min(2 * base_fee + tip, self._fees.max_fee_per_gas_wei)

    async def _suggested_tip(self) -> int:
        try:
            answer = await self._rpc.read("eth_maxPriorityFeePerGas")
        except rpc.RpcError:  # not every node has the method
            return 0
        return rpc.quantity("eth_maxPriorityFeePerGas", answer)

    def _sign(self, payment: PaymentKey, draft: Transaction) -> SignedTransaction:
        raw, transaction = self._key.sign(draft)
        return SignedTransaction(
            chain_id=self._chain_id,
            signer=self.address,
            nonce=draft.nonce,
            transaction=transaction,
            raw=raw,
            payment=payment,
        )

    async def _broadcast(self, signed: SignedTransaction) -> _Answer:
        try:
            await self._rpc.call("eth_sendRawTransaction", signed.raw)
        except errors.ChainUnavailable:
            return _Answer.UNCLEAR
        except rpc.RpcError as error:
            answer = _meaning(error.message)
            log.warning(
                "transaction_not_taken",
                transaction=signed.transaction,
                nonce=signed.nonce,
                answer=answer.value,
                message=error.message,
            )
            return answer
        return _Answer.TAKEN


def _bumped(fee_wei: int) -> int:
    return fee_wei * (100 + _BUMP_PERCENT) // 100 + 1


def _meaning(message: str) -> _Answer:
    """Tell node errors apart by text: there are no codes for them, geth's words are the custom."""
    text = message.lower()
    if any(words in text for words in ("already known", "known transaction", "already imported")):
        return _Answer.TAKEN
    if any(words in text for words in ("nonce too low", "replacement transaction underpriced")):
        return _Answer.NONCE_PASSED
    return _Answer.REFUSED
