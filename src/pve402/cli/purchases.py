"""Buys and renews leases; if interrupted, says what was paid and what still runs."""

import asyncio
from decimal import Decimal, InvalidOperation
from typing import Final

import typer

from pve402 import client, schemas
from pve402.cli import calls, credentials, exit_codes, terminal

_CLOSED: Final = frozenset({"provisioning_failed", "payment_owed"})
_DEAREST_DIGITS: Final = 30
_MOST_DECIMALS: Final = 30
_NOT_READY_SECONDS: Final = 2.0
_NOT_READY_TRIES: Final = 150


class Standing:
    """How far a purchase has come."""

    def __init__(self) -> None:
        self.is_sent = False
        self.lease_id = ""

    def note(self, accepted: schemas.LeaseAnswer | None) -> None:
        """Record that the payment is sent, and later the lease that it buys."""
        self.is_sent = True
        if accepted is not None:
            self.lease_id = client.plain(accepted.lease_id, 64)

    def note_sent(self, _accepted: schemas.LeaseAnswer | None) -> None:
        """Record only the payment, as the lease already exists."""
        self.is_sent = True

    def tell_if_open(self, error: client.ClientError) -> None:
        """Report the purchase's state if a sent payment may still be taken after this error."""
        if self.is_sent and not (isinstance(error, client.Refused) and self._is_closed_by(error)):
            self.tell()

    def _is_closed_by(self, refused: client.Refused) -> bool:
        """Whether the order is known to have failed, or never to have been accepted."""
        if self.lease_id:
            return refused.status == 402 or refused.code in _CLOSED
        may_change = refused.is_passing or refused.status == 503
        return not may_change and refused.code != client.errors.NOT_OURS

    def tell(self) -> None:
        """Report the purchase's state, how to get the token, and how to end the lease."""
        if self.lease_id:
            terminal.say(
                f"lease {self.lease_id} continues by itself, and is charged when it runs\n"
                f"its token:  pve402 token {self.lease_id}\n"
                f"to end it:  pve402 end {self.lease_id}   (nothing is refunded)"
            )
        elif self.is_sent:
            terminal.say(
                "a payment was sent, and its outcome is not known yet\n"
                "`pve402 list` shows the lease, if there is one, and when its paid time ends\n"
                "`pve402 token LEASE` gives its token, `pve402 end LEASE` ends it"
            )
        else:
            terminal.say("nothing was paid")


def quote(url: str, wish: schemas.LeaseRequest, *, as_json: bool) -> None:
    """Show the price of a lease."""
    priced = calls.run(client.Client(url), lambda service: service.quote(wish))
    terminal.show(priced, as_json=as_json)


def lease(url: str, wish: schemas.LeaseRequest, *, max_usd: str | None, as_json: bool) -> None:
    """Lease a container, and show it with its token."""
    most = allowed(max_usd)

    async def buy(service: client.Client) -> None:
        standing = Standing()
        try:
            service.cap_usd = await agreed(most, await service.quote(wish))
            bought = await service.lease(wish, on_progress=standing.note)
            standing.note(bought.answer)
        except asyncio.CancelledError:
            await _interrupted(service, standing)
            raise
        except client.ClientError as error:
            standing.tell_if_open(error)
            raise
        try:
            terminal.show(bought.answer, as_json=as_json)
        except OSError:
            standing.tell()
            raise

    calls.run(client.Client(url, key=credentials.wallet_key()), buy)


def renew(
    url: str, name: str, minutes: int, *, token: str | None, max_usd: str | None, as_json: bool
) -> None:
    """Renew a lease, and show when its paid time ends."""
    most = allowed(max_usd)

    async def buy(service: client.Client) -> None:
        standing = Standing()
        try:
            ctid = await client.names.resolve(service, name)
            wish = schemas.RenewalQuoteRequest(ctid=ctid, runtime_minutes=minutes)
            service.cap_usd = await agreed(most, await service.quote(wish))
            bought = await service.renew(ctid, minutes, on_progress=standing.note_sent)
        except asyncio.CancelledError:
            standing.tell()
            raise
        except client.ClientError as error:
            standing.tell_if_open(error)
            raise
        terminal.show(bought.answer, as_json=as_json)

    calls.run(client.Client(url, key=credentials.wallet_key(), token=token), buy)


def allowed(max_usd: str | None) -> Decimal | None:
    """Return the amount that we may pay without asking; None if we must ask the user."""
    if max_usd is None:
        if not terminal.can_ask():
            terminal.misused("give --max-usd, or run this in a terminal")
        return None
    try:
        most = Decimal(max_usd)
    except InvalidOperation:
        most = Decimal("NaN")
    if not most.is_finite() or most < 0:
        terminal.misused("--max-usd must be a number such as 0.50")
    return most


async def agreed(most: Decimal | None, priced: schemas.Quote) -> Decimal:
    """Return the amount that we may pay: the cap, or the price if the user agrees to it now."""
    if most is not None:
        return most
    price_usd = offered_usd(priced)
    if not await terminal.confirm(f"Pay {price_usd:f} USD?"):
        raise typer.Exit(exit_codes.NOT_PAID)
    return price_usd


def offered_usd(priced: schemas.Quote) -> Decimal:
    """Return the highest offer in USD, as charged, in whole atomic units.

    Raises UnexpectedAnswer if an offer's amount or decimals are invalid.
    """
    return max((_usd(offer) for offer in priced.accepts), default=Decimal(0))


def _usd(offer: schemas.Offer) -> Decimal:
    digits = offer.amount
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _DEAREST_DIGITS):
        raise client.UnexpectedAnswer("the price in the service's quote is not a number")
    if not 0 <= offer.decimals <= _MOST_DECIMALS:
        raise client.UnexpectedAnswer("the decimals in the service's quote are not valid")
    return Decimal(digits).scaleb(-offer.decimals)


async def _interrupted(service: client.Client, standing: Standing) -> None:
    """Report the purchase's state after a signal, and offer to end the lease."""
    standing.tell()
    if not standing.lease_id or not terminal.can_ask():
        return
    if await terminal.confirm("End it now?"):
        await _end_when_ready(service, standing.lease_id)


async def _end_when_ready(service: client.Client, lease_id: str) -> None:
    """End a lease, retrying while its creation is in progress and the service refuses."""
    for _ in range(_NOT_READY_TRIES):
        try:
            ended = await service.end(lease_id)
        except client.Refused as refused:
            if refused.status != 409:
                raise
            await asyncio.sleep(_NOT_READY_SECONDS)
        else:
            terminal.say(f"lease {lease_id} is {ended.status}")
            return
    terminal.say(f"lease {lease_id} cannot be ended yet; try `pve402 end {lease_id}` later")
