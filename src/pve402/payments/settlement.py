"""Settles payments, and believes the chain rather than whoever moved the money.

What is concluded, from what the facilitator says and what the chain shows:

| facilitator    | nonce on chain              | conclusion                                    |
| -------------- | --------------------------- | --------------------------------------------- |
| any, or silent | paid to us                  | SETTLED, with the transaction that really did |
| any, or silent | spent elsewhere, cancelled, | REFUSED: a nonce is taken once                |
|                | or before the order         |                                               |
| any, or silent | free, chain past validBefore| REFUSED: the token will not take it any more  |
| any, or silent | free, its transaction is in | REFUSED: the payer's contract, or the token,  |
|                | a block and was reverted    | says no; asked again it could say so for ever |
| yes            | free, still valid           | UNKNOWN: not there yet, or a lie; look again  |
| no (our own)   | free, still valid           | REFUSED: it was not submitted and will not be |
| no, twice      | free, still valid           | REFUSED: both times nothing was broadcast     |
| no, names a    | free, still valid           | UNKNOWN: it was broadcast and may yet land    |
| transaction    |                             |                                               |
| silent, broken | free, still valid           | UNKNOWN: it may be on its way                 |
| any            | spent, not found in limits  | UNKNOWN: only an operator's node can tell     |
| any            | chain does not answer       | UNKNOWN                                       |
| yes, trusted   | not asked                   | SETTLED, if it names a transaction            |

REFUSED undoes a tenant's order. Two lines are weaker than proof, because anybody who has the signed
authorization can submit it until `validBefore`: a no that is followed by a transfer all the same,
and a transaction that was reverted and is followed by another. What lands so is owed to the payer
(`leases.owed`). What is UNKNOWN ends at `validBefore`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

import structlog

from pve402.payments import chain as chains
from pve402.payments import errors
from pve402.payments.facilitators.base import Facilitator, Outcome, Settlement, Verification
from pve402.payments.payment import Payment, Requirements
from pve402.payments.schemes import known
from pve402.payments.schemes.base import Fate, Finding

log = structlog.get_logger(__name__)

_CLOCK_MARGIN_SECONDS: Final = 120
_FINAL: Final = {
    Fate.SPENT_ELSEWHERE: "nonce_spent_elsewhere",
    Fate.CANCELLED: "authorization_cancelled",
    Fate.SPENT_BEFORE: "nonce_spent_before",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """How payments on one network are settled and checked."""

    facilitator: Facilitator
    chain: chains.Chain
    asked_by_strangers: chains.Chain | None = None
    """Reads the chain for whoever has not paid yet, on connections of its own; None: `chain`."""
    trust_facilitator: bool = False
    """Take a yes without looking at the chain. A lying facilitator is then the operator's loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a settlement is waited for before it counts as unknown."""

    visible_within_seconds: float = 10.0
    """After a yes: our node may lag behind the facilitator's."""
    first_interval_seconds: float = 0.05
    longest_interval_seconds: float = 1.0
    ask_again_after_seconds: float = 1.0
    """After a plain no, before it is believed."""
    expiry_depth_blocks: int = 2
    """How many blocks below the newest the chain must be past validBefore, against reorgs."""


class Recheck(Enum):
    """How a settled payment looks some blocks later."""

    FINAL = "final"  # deep enough
    TOO_EARLY = "too_early"  # there, look again later
    VANISHED = "vanished"  # the chain went another way; settle again while it is valid
    LOST = "lost"  # gone, and can never be settled again


@dataclass(frozen=True, kw_only=True, slots=True)
class Rechecked:
    """What a recheck found; the transaction can be another one than before."""

    standing: Recheck
    transaction: str | None = None


class Settler:
    """Verifies, settles and checks payments on every network that is accepted."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        *,
        patience: Patience | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`routes` has one entry per CAIP-2 id."""
        self._routes = routes
        self._patience = patience or Patience()
        self._sleep = sleep

    async def verify(self, payment: Payment, requirements: Requirements) -> Verification:
        """Ask the facilitator whether the payment would settle.

        Raises:
            FacilitatorUnavailable: nobody could say.
        """
        answer = await self._route(payment).facilitator.verify(payment, requirements)
        if answer.valid and answer.payer not in (None, payment.payer):
            log.warning("facilitator_named_another_payer", network=payment.network)
            return Verification(valid=False, payer=payment.payer, reason="payer_mismatch")
        return answer

    async def payer_has_code(self, payment: Payment) -> bool | None:
        """Whether the payer is a contract, or delegates to one; None where nobody is asked.

        Raises:
            ChainUnavailable: no usable answer.
        """
        route = self._route(payment)
        if route.trust_facilitator:
            return None
        return await (route.asked_by_strangers or route.chain).has_code(payment.payer)

    async def settle(
        self,
        payment: Payment,
        requirements: Requirements,
        *,
        since_seconds: int,
        attempted_before: bool = False,
        known_transaction: str | None = None,
    ) -> Settlement:
        """Move the money unless it has moved, and conclude by the table above.

        Raises nothing of payments: what went wrong there is in the outcome.

        `since_seconds` is when the order was claimed (Unix time): events are searched back to
        it. After an attempt whose outcome is unknown, `attempted_before` makes the chain be
        asked first; `known_transaction` is a hash that the attempt left behind.
        """
        route = self._route(payment)
        if attempted_before or known_transaction:
            before = await self.look(
                payment, since_seconds=since_seconds, known_transaction=known_transaction
            )
            if before.outcome is not Outcome.UNKNOWN:
                return before
        said = await route.facilitator.settle(payment, requirements)
        if said.outcome is Outcome.SETTLED and said.transaction and route.trust_facilitator:
            return said
        seen = await self._watch(payment, said, since_seconds=since_seconds)
        if seen.outcome is Outcome.UNKNOWN and said.outcome is Outcome.REFUSED:
            seen = await self._refuse(
                payment, requirements, said, seen, since_seconds=since_seconds
            )
        _report(said, seen)
        return seen

    async def look(
        self, payment: Payment, *, since_seconds: int, known_transaction: str | None = None
    ) -> Settlement:
        """Conclude from the chain alone; moves nothing. Raises nothing of payments."""
        try:
            return await self._look(payment, since_seconds, known_transaction)
        except errors.ChainUnavailable as error:
            log.warning("chain_unavailable", method=error.method, reason=error.reason)
            return _unknown(payment, known_transaction, "chain_unavailable")

    async def recheck(
        self, payment: Payment, *, transaction: str, since_seconds: int, confirmations: int = 10
    ) -> Rechecked:
        """Look again at a settled payment.

        Raises:
            ChainUnavailable: no usable answer; look again later.
        """
        chain = self._route(payment).chain
        seen = await self._look(payment, since_seconds, transaction)
        if seen.outcome is Outcome.REFUSED:
            return Rechecked(standing=Recheck.LOST)
        if seen.outcome is Outcome.UNKNOWN or seen.transaction is None:
            return Rechecked(standing=Recheck.VANISHED)
        final = await chain.is_final(seen.transaction, confirmations=confirmations)
        standing = Recheck.FINAL if final else Recheck.TOO_EARLY
        return Rechecked(standing=standing, transaction=seen.transaction)

    def chain_of(self, network: str) -> chains.Chain:
        """The chain of an accepted network, by its CAIP-2 id."""
        return self._routes[network].chain

    def facilitator_of(self, network: str) -> Facilitator:
        """The facilitator of an accepted network, by its CAIP-2 id."""
        return self._routes[network].facilitator

    async def close(self) -> None:
        """Close every facilitator and endpoint."""
        for route in self._routes.values():
            await route.facilitator.close()
            await route.chain.close()
            if route.asked_by_strangers is not None:
                await route.asked_by_strangers.close()

    def _route(self, payment: Payment) -> Route:
        return self._routes[payment.network]

    async def _look(
        self, payment: Payment, since_seconds: int, known_transaction: str | None
    ) -> Settlement:
        chain, scheme = self._route(payment).chain, known.scheme_of(payment)
        receipt = None
        if known_transaction:
            # A receipt that cannot be had is searched for by its events below.
            with contextlib.suppress(errors.ChainUnavailable):
                receipt = await chain.receipt(known_transaction)
            seen = None if receipt is None else scheme.judge(receipt, payment)
            if seen is not None:
                return _concluded(payment, seen, known_transaction)
        newest = await chain.latest_block()
        not_before = since_seconds - _CLOCK_MARGIN_SECONDS
        found = await scheme.find(chain, payment, not_before_seconds=not_before, newest=newest)
        if found.fate is Fate.UNSPENT and await self._is_past(payment, chain, newest):
            return Settlement.of(payment, Outcome.REFUSED, reason="authorization_expired")
        if found.fate is Fate.UNSPENT and receipt is not None and not receipt.succeeded:
            return Settlement.of(
                payment,
                Outcome.REFUSED,
                transaction=known_transaction,
                reason="transaction_reverted",
            )
        return _concluded(payment, found, known_transaction)

    async def _is_past(self, payment: Payment, chain: chains.Chain, newest: chains.Block) -> bool:
        """Whether no block that can follow `newest`, even after a reorg, takes the transfer.

        The nonce's state must be that of `newest` too: read any earlier, the transfer could
        have landed between the two readings.
        """
        if newest.timestamp_seconds < payment.valid_before:
            return False
        depth = max(0, newest.number - self._patience.expiry_depth_blocks)
        return (await chain.block(depth)).timestamp_seconds >= payment.valid_before

    async def _watch(self, payment: Payment, said: Settlement, *, since_seconds: int) -> Settlement:
        """Look once; after a yes, look until the transfer shows or patience ends."""
        waited, interval = 0.0, self._patience.first_interval_seconds
        while True:
            seen = await self.look(
                payment, since_seconds=since_seconds, known_transaction=said.transaction
            )
            over = waited >= self._patience.visible_within_seconds
            if seen.outcome is not Outcome.UNKNOWN or said.outcome is not Outcome.SETTLED or over:
                return seen
            await self._sleep(interval)
            waited += interval
            interval = min(interval * 2, self._patience.longest_interval_seconds)

    async def _refuse(
        self,
        payment: Payment,
        requirements: Requirements,
        said: Settlement,
        seen: Settlement,
        *,
        since_seconds: int,
    ) -> Settlement:
        """The facilitator said no and the nonce is free: is that the end of it?

        A no that names a transaction has broadcast it, and it may yet land. A plain no is asked
        for once more: a facilitator that had only stumbled settles then.
        """
        if not _is_free(seen):
            return seen
        facilitator = self._route(payment).facilitator
        if facilitator.refusals_are_final:
            return Settlement.of(payment, Outcome.REFUSED, reason=said.reason)
        if said.transaction is not None:
            return seen
        await self._sleep(self._patience.ask_again_after_seconds)
        again = await facilitator.settle(payment, requirements)
        seen = await self._watch(payment, again, since_seconds=since_seconds)
        is_plain = again.outcome is Outcome.REFUSED and again.transaction is None
        if is_plain and _is_free(seen):
            return Settlement.of(payment, Outcome.REFUSED, reason=again.reason)
        return seen


def _is_free(seen: Settlement) -> bool:
    """Whether the chain shows that the payment is neither spent nor past its window."""
    return seen.outcome is Outcome.UNKNOWN and seen.reason == Fate.UNSPENT.value


def _report(said: Settlement, seen: Settlement) -> None:
    log.info(
        "payment_settlement",
        network=seen.network,
        facilitator=said.outcome.value,
        outcome=seen.outcome.value,
        reason=seen.reason,
        transaction=seen.transaction,
    )


def _concluded(payment: Payment, found: Finding, known_transaction: str | None) -> Settlement:
    if found.fate is Fate.PAID:
        return Settlement.of(payment, Outcome.SETTLED, transaction=found.transaction)
    if found.fate in _FINAL:
        return Settlement.of(payment, Outcome.REFUSED, reason=_FINAL[found.fate])
    return _unknown(payment, known_transaction, found.fate.value)


def _unknown(payment: Payment, transaction: str | None, reason: str) -> Settlement:
    return Settlement.of(payment, Outcome.UNKNOWN, transaction=transaction, reason=reason)
