"""Gets transactions of one account into blocks: in order, without gaps, from many tasks at once.

Each transaction is claimed in the store (nonce, signed bytes and hash) before we send it to the
node. A claimed transaction must reach the chain. If a node's answer is unclear, we send the same
bytes again, which the chain accepts only once; if they do not get into a block, we send a version
with the same nonce and a higher fee.
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
_BUMP_PERCENT: Final = 25  # nodes require 10 to 12.5 more to replace a transaction

RecordTransaction = Callable[[PaymentKey, str], Awaitable[None]]
"""Stores a payment's transaction hash; awaited before the transaction is broadcast."""


class NotBroadcast(errors.PaymentError):
    """The node certainly did not take the transaction, and its nonce is free again."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TooMuchGas(NotBroadcast):
    """The call needs more gas than is allowed; nothing was signed."""

    def __init__(self) -> None:
        super().__init__("needs_too_much_gas")


class _Answer(Enum):
    """The meaning of a node's answer to a broadcast."""

    TAKEN = "taken"  # in its pool, or in a block
    UNCLEAR = "unclear"  # no answer; it may have been taken
    NONCE_PASSED = "nonce_passed"  # the nonce is used: somebody else signs with the key
    REFUSED = "refused"  # certainly not in the pool


@dataclass(frozen=True, kw_only=True, slots=True)
class FeeOptions:
    """Limits on the cost of a transaction."""

    max_fee_per_gas_wei: int = 100 * 10**9
    """Cap. If the chain's fees are higher, we wait."""
    priority_fee_per_gas_wei: int = 10**6
    """Tip; rollups need almost none. We use the node's own suggestion if it is higher."""
    max_priority_fee_per_gas_wei: int = 5 * 10**9
    max_gas: int = 500_000
    """A plain transfer takes 60,000 to 90,000; the checks of contract wallets need more."""


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
        """Sign and broadcast one call. Once this returns, we make sure it reaches the chain.

        Cancelling the caller does not stop it half-way: a claimed nonce that is never broadcast
        would block all later ones.

        Raises:
            RpcError: the node's simulation of the call failed; nothing was signed.
            TooMuchGas: it would take more gas than allowed; nothing was signed.
            NotBroadcast: the node refused it.
            ChainUnavailable: the node did not answer, before anything was signed.
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
        """Return the call with the sender, gas and fees of the real transaction.

        Without them, a contract could recognise a simulation and answer differently.

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
        """Broadcast the same bytes again; the chain accepts them only once.

        Returns False if it never can: the account used the nonce for something else.
        """
        answer = await self._broadcast(signed)
        return answer is not _Answer.NONCE_PASSED or await self._is_mined(signed)

    async def outbid(self, signed: SignedTransaction, *, to: str, data: str) -> SignedTransaction:
        """Replace a stuck transaction with one of a higher fee and the same nonce, up to the cap.

        Returns the nonce's current transaction: the same one if the cap is reached or the nonce is
        no longer open.
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
        """Forget final transactions and rebroadcast those in no block; return how many of these.

        Run it at startup and from time to time. It completes the work of a process that died
        between claim and broadcast, and restores transactions that a reorganisation removed.

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
        """Wait for running broadcasts."""
        await asyncio.gather(*self._underway, return_exceptions=True)

    async def _send_in_turn(self, payment: PaymentKey, draft: Transaction) -> SignedTransaction:
        async with self._in_order:  # broadcasts go out in nonce order
            floor = 0
            for _attempt in range(_CLAIM_ATTEMPTS):
                nonce = max(floor, await self._free_nonce())
                signed = self._sign(payment, replace(draft, nonce=nonce))
                if not await self._nonces.claim(signed):
                    continue  # another process was faster; try the next nonce
                await self._record(payment, signed.transaction)
                if await self._is_owed(signed):
                    return signed
                floor = nonce + 1
        raise NotBroadcast("no nonce could be claimed")

    async def _is_owed(self, signed: SignedTransaction) -> bool:
        """Broadcast a new claim. Returns False if someone else used the nonce: take another.

        Raises:
            NotBroadcast: the node refused it, and the nonce is free again.
        """
        answer = await self._broadcast(signed)
        if answer in (_Answer.TAKEN, _Answer.UNCLEAR):
            return True
        if answer is _Answer.NONCE_PASSED and await self._is_mined(signed):
            return True  # another process's sweep handled it meanwhile
        self._synchronized = False
        withdrawn = await self._nonces.withdraw(signed)
        if answer is _Answer.REFUSED and withdrawn:
            raise NotBroadcast("the node refused the transaction")
        return answer is _Answer.REFUSED  # later nonces wait for it, so send it again

    async def _is_mined(self, signed: SignedTransaction) -> bool:
        found = await self._rpc.read("eth_getTransactionReceipt", signed.transaction)
        return found is not None

    def _done(self, task: "asyncio.Task[SignedTransaction]") -> None:
        self._underway.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved here in case the caller has gone

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
        """Return tip and maximum fee per gas, cached for a second, as many settle at once."""
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
        except rpc.RpcError:  # not every node supports the method
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
    """Classify node errors by text: they have no codes, but most nodes use geth's messages."""
    text = message.lower()
    if any(words in text for words in ("already known", "known transaction", "already imported")):
        return _Answer.TAKEN
    if any(words in text for words in ("nonce too low", "replacement transaction underpriced")):
        return _Answer.NONCE_PASSED
    return _Answer.REFUSED
