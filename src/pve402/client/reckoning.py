"""Asks the chains what became of payments whose outcome is open, and notes it in the ledger.

A signature that was used moved the money, whatever the service said. One that was not used can be
forgotten once the chain's own time is past its end.
"""

import asyncio
import contextlib
import itertools
import os
from dataclasses import dataclass, field
from typing import Final

from pve402.client import chain, errors, ledger, spending, threads

#: How far a chain's time must be past a signature's end, so that no reorganization brings it back.
SETTLED_SECONDS: Final = 300
#: The longest that a payment waits for chains which may free a part of its limit.
FREEING_SECONDS: Final = 60.0

_OPEN: Final = (spending.State.SENT, spending.State.REFUSED)


@dataclass(kw_only=True)
class Outcome:
    """How many payments were found to have moved money, how many never can, how many stay open."""

    settled: int = 0
    voided: int = 0
    still_open: int = 0
    problems: list[str] = field(default_factory=list)


async def reckon(book: ledger.Ledger, *, settled_seconds: int = SETTLED_SECONDS) -> Outcome:
    """Look at every open payment once. Raises LedgerUnusable; a chain's silence is a problem."""
    outcome = Outcome()
    found = await threads.run(book.payments, _OPEN)
    found.sort(key=lambda payment: payment.network)
    for network, payments in itertools.groupby(found, key=lambda payment: payment.network):
        these = list(payments)
        try:
            async with chain.Chain(network) as where:
                for payment in these:
                    await _look(book, where, payment, settled_seconds, outcome)
        except errors.ChainUnreadable as error:
            outcome.problems.append(str(error))
    outcome.still_open = len(found) - outcome.settled - outcome.voided
    return outcome


async def free(book: ledger.Ledger) -> None:
    """Reckon before a limit stops a payment, if the user chose endpoints (PVE402_RPC_URL).

    Raises LedgerUnusable; what the chains do not say goes on counting.
    """
    if os.environ.get(chain.VARIABLE):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FREEING_SECONDS):
                await reckon(book)


async def _look(
    book: ledger.Ledger,
    where: chain.Chain,
    payment: spending.Payment,
    settled_seconds: int,
    outcome: Outcome,
) -> None:
    seen = await where.look(payment.asset, payment.payer, payment.nonce)
    if seen.is_used:
        await threads.run(book.settle, payment.payment_id)
        outcome.settled += 1
    elif seen.at_seconds > payment.valid_before + settled_seconds:
        await threads.run(book.void, payment.payment_id)
        outcome.voided += 1
