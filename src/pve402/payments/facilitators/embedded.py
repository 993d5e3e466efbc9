"""A facilitator of our own: signs and broadcasts the transfer itself, through one RPC endpoint.

Nothing here blocks the event loop: calls to the node are asynchronous, and a signature takes 0.1
ms. Broadcasts go out in order; receipts are awaited concurrently.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from pve402.payments import chain as chains
from pve402.payments import errors, networks, rpc, signatures
from pve402.payments.facilitators.base import Outcome, Settlement, Verification
from pve402.payments.facilitators.broadcaster import (
    Broadcaster,
    FeeOptions,
    NotBroadcast,
    RecordTransaction,
    TooMuchGas,
)
from pve402.payments.facilitators.nonces import SignedTransaction, SignerNonces
from pve402.payments.facilitators.transactions import SigningKey
from pve402.payments.payment import Payment, Requirements
from pve402.payments.schemes import known
from pve402.payments.schemes.base import Fate

log = structlog.get_logger(__name__)

_REVERTS: Final = (
    ("authorization is used", "nonce_already_used"),
    ("exceeds balance", "insufficient_funds"),
    ("invalid signature", "invalid_signature"),
    ("authorization is expired", "authorization_expired"),
    ("authorization is not yet valid", "authorization_not_yet_valid"),
    ("blacklist", "account_blocked_by_token"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbeddedOptions:
    """Settings of our own facilitator on one network."""

    network: str
    """CAIP-2 id."""
    private_key: str = field(repr=False)
    """Private key (hex) of the account that pays for gas."""
    settle_timeout_seconds: float = 45.0
    outbid_after_seconds: float = 20.0
    """How long a transaction may wait for a block before we raise its fee."""
    sweep_interval_seconds: float = 30.0
    """How often we resend transactions that the chain or the node's pool dropped."""
    first_interval_seconds: float = 0.02
    longest_interval_seconds: float = 1.0
    fees: FeeOptions = field(default_factory=FeeOptions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """Monotonic time and sleep, so that tests need not wait."""

    monotonic_seconds: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class EmbeddedFacilitator:
    """See `Facilitator`."""

    refusals_are_final = True

    def __init__(
        self,
        options: EmbeddedOptions,
        endpoint: rpc.Rpc,
        nonces: SignerNonces,
        *,
        record_transaction: RecordTransaction,
        clock: Clock | None = None,
    ) -> None:
        """Read the key.

        Raises:
            ValueError: the key is not valid.
            UnknownNetwork: the network is not in the table.
        """
        self._options = options
        self._rpc = endpoint
        self._chain_id = networks.resolve(options.network).chain_id
        self._chain = chains.Chain(endpoint)
        self._nonces = nonces
        self._clock = clock or Clock()
        self._sweeper: asyncio.Task[None] | None = None
        self._broadcaster = Broadcaster(
            endpoint,
            SigningKey(options.private_key),
            nonces,
            chain_id=self._chain_id,
            fees=options.fees,
            record_transaction=record_transaction,
        )

    @property
    def address(self) -> str:
        """The account that pays for gas, lower case."""
        return self._broadcaster.address

    async def verify(self, payment: Payment, requirements: Requirements) -> Verification:
        """See `Facilitator`. The node simulates the transfer, for any kind of signature."""
        shape = signatures.unwrap(payment.signature_bytes)
        if shape is None or shape.deploys:
            return Verification(valid=False, payer=payment.payer, reason="wallet_not_deployed")
        transfer = known.scheme_of(payment).transfer(payment)
        try:
            call = await self._broadcaster.simulated(transfer.to, transfer.data)
            await self._rpc.read("eth_call", call, "latest")
        except rpc.RpcError as error:
            if error.out_of_gas:
                return Verification(valid=False, payer=payment.payer, reason=TooMuchGas().reason)
            if error.reverted:
                return Verification(valid=False, payer=payment.payer, reason=_why(error.message))
            raise errors.FacilitatorUnavailable(f"the node answered {error.code}") from error
        except (errors.ChainUnavailable, NotBroadcast) as error:
            raise errors.FacilitatorUnavailable(error.reason) from error
        return Verification(valid=True, payer=payment.payer)

    async def settle(self, payment: Payment, requirements: Requirements) -> Settlement:
        """See `Facilitator`. If we already signed for this payment, we follow that transaction."""
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep_for_ever())
        try:
            signed = await self._nonces.open_for(payment.key)
            if signed is None or not await self._broadcaster.send_again(signed):
                signed = await self._send(payment)
        except rpc.RpcError as error:
            outcome = Outcome.REFUSED if error.reverted else Outcome.UNKNOWN
            return Settlement.of(payment, outcome, reason=_why(error.message))
        except TooMuchGas as error:
            return Settlement.of(payment, Outcome.REFUSED, reason=error.reason)
        except NotBroadcast as error:
            log.warning("settlement_not_broadcast", reason=error.reason, network=payment.network)
            return Settlement.of(payment, Outcome.UNKNOWN, reason="not_broadcast")
        except errors.ChainUnavailable:
            return Settlement.of(payment, Outcome.UNKNOWN, reason="chain_unavailable")
        return await self._follow(payment, signed)

    async def sweep(self) -> int:
        """Rebroadcast claimed transactions that are in no block; also runs automatically.

        Raises:
            ChainUnavailable: the node did not answer.
        """
        return await self._broadcaster.sweep()

    async def close(self) -> None:
        """See `Facilitator`. Leaves the endpoint open: its creator closes it."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        await self._broadcaster.close()

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._options.sweep_interval_seconds)
            try:
                await self._broadcaster.sweep()
            except Exception:  # no error may end the loop that recovers
                log.exception("sweep_failed", network=self._options.network)

    async def _send(self, payment: Payment) -> SignedTransaction:
        transfer = known.scheme_of(payment).transfer(payment)
        return await self._broadcaster.send(payment.key, to=transfer.to, data=transfer.data)

    async def _follow(self, payment: Payment, signed: SignedTransaction) -> Settlement:
        """Wait until one of the transactions is in a block, raising the fee if necessary."""
        hashes: list[str] = []  # an outbid version can still land
        started = outbid_at = self._clock.monotonic_seconds()
        interval = self._options.first_interval_seconds
        while True:
            if signed.transaction not in hashes:
                hashes.insert(0, signed.transaction)
            ended = await self._ended(payment, hashes)
            if ended is not None:
                return ended
            now = self._clock.monotonic_seconds()
            if now - started >= self._options.settle_timeout_seconds:
                return Settlement.of(
                    payment, Outcome.UNKNOWN, transaction=signed.transaction, reason="not_in_block"
                )
            if now - outbid_at >= self._options.outbid_after_seconds:
                signed = await self._outbid(payment, signed)
                outbid_at = now
            await self._clock.sleep(interval)
            interval = min(interval * 2, self._options.longest_interval_seconds)

    async def _outbid(self, payment: Payment, signed: SignedTransaction) -> SignedTransaction:
        try:
            await self._chain.latest_block()
        except errors.ChainUnavailable:
            return signed  # the node does not answer, so it may not be stuck
        transfer = known.scheme_of(payment).transfer(payment)
        return await self._broadcaster.outbid(signed, to=transfer.to, data=transfer.data)

    async def _ended(self, payment: Payment, hashes: Sequence[str]) -> Settlement | None:
        """Return the result of these transactions; None while none of them is in a block."""
        reverted: Settlement | None = None
        for transaction in hashes:
            try:
                receipt = await self._chain.receipt(transaction)
            except errors.ChainUnavailable:
                continue
            if receipt is None:
                continue
            finding = known.scheme_of(payment).judge(receipt, payment)
            if finding is not None and finding.fate is Fate.PAID:
                return Settlement.of(payment, Outcome.SETTLED, transaction=transaction)
            reverted = Settlement.of(
                payment, Outcome.REFUSED, transaction=transaction, reason="transaction_reverted"
            )
        return reverted


def _why(message: str) -> str:
    """Return a short code for a revert, from the token's own messages (FiatToken v2.2)."""
    text = message.lower()
    return next((word for words, word in _REVERTS if words in text), "transaction_would_fail")
