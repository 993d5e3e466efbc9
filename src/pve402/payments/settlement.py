"""Settles payments, and trusts the chain rather than the facilitator.

What we conclude from the facilitator's answer and the state of the chain:

| facilitator    | nonce on chain              | conclusion                                    |
| -------------- | --------------------------- | --------------------------------------------- |
| any, or silent | paid to us                  | SETTLED, with the transaction that really did |
| any, or silent | spent elsewhere, cancelled, | REFUSED: a nonce can be used only once        |
|                | or before the order         |                                               |
| any, or silent | free, chain past validBefore| REFUSED: the token no longer accepts it       |
| any, or silent | free, its transaction is in | REFUSED: the payer's contract, or the token,  |
|                | a block and was reverted    | says no, and might do so at every new attempt |
| yes            | free, still valid           | UNKNOWN: not there yet, or a lie; check again |
| no (our own)   | free, still valid           | REFUSED: it was not submitted and will not be |
| no, twice      | free, still valid           | REFUSED: both times nothing was broadcast     |
| no, twice,     | free, still valid, and the  | UNKNOWN: what the earlier attempt broadcast   |
| after an       | token would take it now     | may still land                                |
| attempt        | or would not take it now    | REFUSED                                       |
| no, as it was  | free, still valid           | UNKNOWN: our node may lag behind; even from   |
| used already   |                             | our own signer                                |
| no, names a    | free, still valid           | UNKNOWN: it was broadcast and may still land  |
| transaction    |                             |                                               |
| silent, broken | free, still valid           | UNKNOWN: it may be on its way                 |
| any            | spent, not found in limits  | UNKNOWN: an operator must check with a node   |
| any            | chain does not answer       | UNKNOWN                                       |
| yes, trusted   | not asked                   | SETTLED, if it names a transaction            |

REFUSED undoes a tenant's order. Where the nonce is free it is not proven, because anyone with the
signed authorization can submit it until `validBefore`: a transfer may still follow a no, a wallet
may be filled again, and another transaction may follow a reverted one. We owe the payer any money
that arrives this way. UNKNOWN ends at `validBefore`.
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
_TX_REVERTED: Final = "transaction_reverted"
_USED_ALREADY: Final = frozenset(
    {
        "duplicate_settlement",
        "nonce_already_used",
        "invalid_exact_evm_nonce_already_used",
    }
)
"""Reasons that say the payment was submitted before, so a transfer may be under way."""
_FINAL: Final = {
    Fate.SPENT_ELSEWHERE: "nonce_spent_elsewhere",
    Fate.CANCELLED: "authorization_cancelled",
    Fate.SPENT_BEFORE: "nonce_spent_before",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Settings for settling and checking payments on one network."""

    facilitator: Facilitator
    chain: chains.Chain
    asked_by_strangers: chains.Chain | None = None
    """Reads the chain for unpaid requests, on separate connections; None: use `chain`."""
    trust_facilitator: bool = False
    """Accept a yes without checking the chain; the operator bears the cost if it is a lie."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long to wait for a settlement before it counts as unknown."""

    visible_within_seconds: float = 10.0
    """How long to wait after a yes, as our node may lag behind the facilitator's."""
    first_interval_seconds: float = 0.05
    longest_interval_seconds: float = 1.0
    ask_again_after_seconds: float = 1.0
    """How long to wait after a plain no before asking again."""
    expiry_depth_blocks: int = 2
    """How many blocks back from the newest must already be past validBefore, in case of reorgs."""


class Recheck(Enum):
    """The state of a settled payment some blocks later."""

    FINAL = "final"  # deep enough
    TOO_EARLY = "too_early"  # there, check again later
    VANISHED = "vanished"  # the chain went another way; settle again while it is valid
    LOST = "lost"  # gone, or reverted


@dataclass(frozen=True, kw_only=True, slots=True)
class Rechecked:
    """The result of a recheck; the transaction may have changed."""

    standing: Recheck
    transaction: str | None = None
    may_land: bool = False
    """Whether a lost transfer may still come in another transaction, as its payment is valid."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Late:
    """What became of the transfer of a refused order."""

    transaction: str | None = None
    """The transaction that paid us after all, deep enough not to vanish."""
    landed_at_seconds: int = 0
    """Unix time of its block."""
    may_land: bool = False
    """Whether it may still land, or the chain cannot yet tell."""


class Settler:
    """Verifies, settles and checks payments on all accepted networks."""

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
            FacilitatorUnavailable: no usable answer.
        """
        answer = await self._route(payment).facilitator.verify(payment, requirements)
        if answer.valid and answer.payer not in (None, payment.payer):
            log.warning("facilitator_named_another_payer", network=payment.network)
            return Verification(valid=False, payer=payment.payer, reason="payer_mismatch")
        return answer

    async def payer_has_code(self, payment: Payment) -> bool | None:
        """Return whether the payer is a contract or delegates to one; None if that is unknown.

        It is unknown only where the facilitator is trusted and the chain does not answer.

        Raises:
            ChainUnavailable: no usable answer.
        """
        route = self._route(payment)
        try:
            return await (route.asked_by_strangers or route.chain).has_code(payment.payer)
        except errors.ChainUnavailable:
            if route.trust_facilitator:
                return None
            raise

    async def settle(
        self,
        payment: Payment,
        requirements: Requirements,
        *,
        since_seconds: int,
        attempted_before: bool = False,
        known_transaction: str | None = None,
    ) -> Settlement:
        """Move the money unless it has already moved, and conclude as in the table above.

        Raises no payment errors: the outcome reports failures.

        `since_seconds` is the Unix time of the order's claim; the search for events goes back to
        it. After an attempt with an unknown outcome, set `attempted_before` to check the chain
        first; `known_transaction` is the hash from that attempt, if any.
        """
        route = self._route(payment)
        is_first = not (attempted_before or known_transaction)
        if not is_first:
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
                payment, requirements, said, seen, since_seconds=since_seconds, is_first=is_first
            )
        _report(said, seen)
        return seen

    async def look(
        self, payment: Payment, *, since_seconds: int, known_transaction: str | None = None
    ) -> Settlement:
        """Conclude from the chain alone; moves nothing. Raises no payment errors."""
        try:
            return await self._look(payment, since_seconds, known_transaction)
        except errors.ChainUnavailable as error:
            log.warning("chain_unavailable", method=error.method, reason=error.reason)
            return _unknown(payment, known_transaction, "chain_unavailable")

    async def recheck(
        self, payment: Payment, *, transaction: str, since_seconds: int, confirmations: int = 10
    ) -> Rechecked:
        """Check a settled payment again.

        Raises:
            ChainUnavailable: no usable answer; check again later.
        """
        chain = self._route(payment).chain
        seen = await self._look(payment, since_seconds, transaction)
        if seen.outcome is Outcome.REFUSED:
            return Rechecked(standing=Recheck.LOST, may_land=seen.reason == _TX_REVERTED)
        if seen.outcome is Outcome.UNKNOWN or seen.transaction is None:
            return Rechecked(standing=Recheck.VANISHED)
        final = await chain.is_final(seen.transaction, confirmations=confirmations)
        standing = Recheck.FINAL if final else Recheck.TOO_EARLY
        return Rechecked(standing=standing, transaction=seen.transaction)

    async def watch(self, payment: Payment, *, since_seconds: int, confirmations: int) -> Late:
        """Look whether a payment that we gave up was submitted by somebody else.

        Anybody with the signed authorization can, until the chain is past `validBefore`.

        Raises:
            ChainUnavailable: no usable answer; look again later.
        """
        chain, scheme = self._route(payment).chain, known.scheme_of(payment)
        newest = await chain.latest_block()
        not_before = since_seconds - _CLOCK_MARGIN_SECONDS
        found = await scheme.find(chain, payment, not_before_seconds=not_before, newest=newest)
        deep = max(0, newest.number - confirmations + 1)
        if found.fate is Fate.PAID and found.block_number is not None:
            if found.block_number > deep:
                return Late(may_land=True)
            landed_at = (await chain.block(found.block_number)).timestamp_seconds
            return Late(transaction=found.transaction, landed_at_seconds=landed_at)
        is_past = newest.timestamp_seconds >= payment.valid_before
        is_past = is_past and (await chain.block(deep)).timestamp_seconds >= payment.valid_before
        return Late(may_land=not is_past or found.fate is Fate.UNSEEN)

    def chain_of(self, network: str) -> chains.Chain:
        """Return the chain of an accepted network, by its CAIP-2 id."""
        return self._routes[network].chain

    def facilitator_of(self, network: str) -> Facilitator:
        """Return the facilitator of an accepted network, by its CAIP-2 id."""
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
            # If the receipt is unavailable, search for the events below.
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
                reason=_TX_REVERTED,
            )
        return _concluded(payment, found, known_transaction)

    async def _is_past(self, payment: Payment, chain: chains.Chain, newest: chains.Block) -> bool:
        """Return whether no block after `newest`, even after a reorg, can include the transfer.

        Read the nonce's state at `newest` too. If it were read at an earlier block, the transfer
        could have landed in between.
        """
        if newest.timestamp_seconds < payment.valid_before:
            return False
        depth = max(0, newest.number - self._patience.expiry_depth_blocks)
        return (await chain.block(depth)).timestamp_seconds >= payment.valid_before

    async def _watch(self, payment: Payment, said: Settlement, *, since_seconds: int) -> Settlement:
        """Check once; after a yes, keep checking until the transfer shows or time runs out."""
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
        is_first: bool,
    ) -> Settlement:
        """Decide whether a facilitator's no is final while the nonce is free.

        If the no names a transaction, it was broadcast and may still land. After a plain no we ask
        once more, in case the failure was temporary. An earlier attempt may have been broadcast
        too, so then the no is final only if the token would not take the transfer either.
        """
        if not _is_free(seen) or said.reason in _USED_ALREADY:
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
        if not is_plain or again.reason in _USED_ALREADY or not _is_free(seen):
            return seen
        if not is_first and await self._could_land(payment):
            return seen
        return Settlement.of(payment, Outcome.REFUSED, reason=again.reason)

    async def _could_land(self, payment: Payment) -> bool:
        """Return whether the transfer could be mined now, as far as our node can tell."""
        try:
            return await known.scheme_of(payment).could_land(self._route(payment).chain, payment)
        except errors.ChainUnavailable:
            return True


def _is_free(seen: Settlement) -> bool:
    """Return whether the chain shows the payment neither spent nor past its window."""
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
