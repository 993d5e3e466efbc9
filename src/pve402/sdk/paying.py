"""Payments whose outcome is always known or said to be unknown, and leases kept alive by them."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Final, Protocol, TypeVar

from pydantic import BaseModel

from pve402 import client, schemas
from pve402.client import errors, ledger, refusals, spending, standing, threads

Answer = TypeVar("Answer", bound=BaseModel)
Buy = Callable[[standing.Standing], Awaitable[client.Bought[Answer]]]

_MICRO: Final = Decimal(10**6)
_RETRY_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 60.0
#: After these nothing more can be bought.
_FINAL: Final = (errors.OverCap, errors.KeyNeeded, refusals.LeaseOver, refusals.LeaseNotFound)


async def settled(buy: Buy[Answer], idempotency_key: str) -> Answer:
    """Buy, and say so if the payment may still be taken after an error.

    Raises OutcomeUnknown, and what `Client.lease` raises if nothing was or will be charged.
    """
    so_far = standing.Standing()
    try:
        return (await buy(so_far)).answer
    except asyncio.CancelledError as cancelled:
        if so_far.is_sent:
            told = errors.OutcomeUnknown("interrupted", idempotency_key, so_far.lease_id)
            cancelled.add_note(f"{told}: {idempotency_key!r}")
        raise
    except errors.OutcomeUnknown:
        raise
    except errors.ClientError as error:
        if so_far.is_open_after(error):
            raise errors.OutcomeUnknown(error, idempotency_key, so_far.lease_id) from error
        raise


def usd(amount: Decimal | str) -> Decimal:
    """Parse an amount of USD. Raises RequestInvalid."""
    try:
        found = Decimal(amount)
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or found < 0:
        raise errors.RequestInvalid("an amount of USD must be a number such as 0.05")
    return found


@dataclass(kw_only=True)
class Keeping:
    """How a box is kept alive.

    `minutes` are bought at a time, for at most `max_usd` in all. `spent_usd` counts what was
    signed, also where the outcome is not known; `renewals` are those that were. `is_over` says
    that it has stopped, because no budget pays for another renewal or the lease is over, and
    `problem` what went wrong last.
    """

    minutes: int
    max_usd: Decimal
    spent_usd: Decimal = Decimal(0)
    renewals: int = 0
    is_over: bool = False
    problem: errors.ClientError | None = None
    #: Of the renewal in progress, for as long as its outcome is not known.
    idempotency_key: str = field(default="", repr=False)


class Renewable(Protocol):
    """What can be kept alive."""

    @property
    def expires_at(self) -> datetime | None:
        """When its paid time ends."""

    async def show(self) -> schemas.LeaseItem:
        """Ask for its state."""


Renew = Callable[[int, Decimal, str, ledger.Ledger], Awaitable[object]]


async def keep_alive(
    box: Renewable,
    renew: Renew,
    keeping: Keeping,
    outer: ledger.Ledger,
    *,
    now: Callable[[], datetime],
) -> None:
    """Renew whenever it is due, until the budget does not pay for another renewal.

    `now` is the service's time. The budget is a purse of its own, inside the one that the
    program pays from.
    """
    most = int(keeping.max_usd * _MICRO)
    limits = spending.Limits(in_all_micro_usd=most)
    book = outer.within(f"kept-{secrets.token_hex(8)}", limits)
    while not keeping.is_over:
        wait = min(_LOOK_SECONDS, keeping.minutes * 6)
        try:
            await _renew_if_due(box, renew, keeping, book, now())
        except errors.ClientError as error:
            keeping.problem, wait = error, _RETRY_SECONDS
            keeping.is_over = isinstance(error, _FINAL)
        await asyncio.sleep(wait)


async def _renew_if_due(
    box: Renewable, renew: Renew, keeping: Keeping, book: ledger.Ledger, now: datetime
) -> None:
    if keeping.problem is not None:  # it may have been renewed all the same
        await box.show()
    if _is_due(box.expires_at, keeping.minutes, now):
        once = keeping.idempotency_key = keeping.idempotency_key or secrets.token_urlsafe(24)
        try:
            await renew(keeping.minutes, keeping.max_usd, once, book)
        except errors.OutcomeUnknown:
            raise
        except errors.ClientError:
            keeping.idempotency_key = ""
            raise
        finally:
            spent = await threads.run(book.spent, purse=book.purse)
            keeping.spent_usd = spent.in_all_micro_usd / _MICRO
        keeping.renewals += 1  # after what it cost: whoever sees the renewal sees its price
    keeping.problem, keeping.idempotency_key = None, ""


def _is_due(expires_at: datetime | None, minutes: int, now: datetime) -> bool:
    """Whether less than half of the minutes of a renewal are left."""
    left = (expires_at - now).total_seconds() if expires_at else 0.0
    return left < minutes * 30
