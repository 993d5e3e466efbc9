"""Buys and renews leases; if interrupted, says what was paid and what still runs."""

import asyncio
from decimal import Decimal, InvalidOperation
from typing import Final

import typer

from pve402 import client, schemas
from pve402.cli import calls, credentials, exit_codes, terminal

_NOT_READY_SECONDS: Final = 2.0
_NOT_READY_TRIES: Final = 150
_ADDRESS_SECONDS: Final = 10


class Standing(client.standing.Standing):
    """How far a purchase has come, for people."""

    def tell_if_open(self, error: client.ClientError) -> None:
        """Report the purchase's state if a sent payment may still be taken after this error."""
        if self.is_open_after(error):
            self.tell()

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


def lease(
    url: str,
    wish: schemas.LeaseRequest,
    *,
    max_usd: str | None,
    without_asking: bool,
    show_token: bool,
    as_json: bool,
) -> None:
    """Lease a container, keep its token, and show what was leased."""
    most = allowed(max_usd, without_asking=without_asking)

    async def buy(service: client.Client) -> None:
        standing = Standing()
        try:
            service.cap_usd = await agreed(most, await service.quote(wish))
            with terminal.working("creating the container"):
                bought = await service.lease(wish, on_progress=standing.note)
            standing.note(bought.answer)
        except asyncio.CancelledError:
            await _interrupted(service, standing)
            raise
        except client.ClientError as error:
            standing.tell_if_open(error)
            raise
        answer = bought.answer
        credentials.keep(url, answer, answer.access_token)
        try:
            answer = await _with_addresses(service, answer)
        finally:  # the token in it is given out once
            try:
                show(url, answer, with_token=show_token, as_json=as_json)
            except OSError:
                standing.tell()
                raise

    calls.run(credentials.buyer(url), buy)


def show(url: str, answer: schemas.LeaseAnswer, *, with_token: bool, as_json: bool) -> None:
    """Keep the token of a new lease, and show the lease: to people without it, if it is kept."""
    is_kept = credentials.keep(url, answer, answer.access_token)
    if as_json or with_token or not is_kept:
        terminal.show(answer, as_json=as_json)
    else:
        terminal.show(answer.model_copy(update={"access_token": None}), as_json=False)
    if as_json:
        return
    name = answer.hostname if client.names.is_host_name(answer.hostname) else answer.lease_id
    name = client.plain(name, 64)
    terminal.say(
        f"next: `pve402 shell {name}`, `pve402 exec {name} -- uptime`,"
        f" `pve402 cp FILE {name}:/root/`"
    )
    terminal.say(f"`pve402 renew {name}` adds time, `pve402 end {name}` ends it")


async def _with_addresses(
    service: client.Client, answer: schemas.LeaseAnswer
) -> schemas.LeaseAnswer:
    """Add the addresses that the container gets by itself, if they come soon."""
    if answer.addresses or answer.ctid is None:
        return answer
    try:
        seen = await service.show(answer.lease_id, wait_seconds=_ADDRESS_SECONDS)
    except client.ClientError:
        return answer
    return answer.model_copy(update={"addresses": seen.addresses})


def renew(
    url: str,
    name: str,
    minutes: int,
    *,
    token: str | None,
    max_usd: str | None,
    without_asking: bool,
    as_json: bool,
) -> None:
    """Renew a lease, and show when its paid time ends."""
    most = allowed(max_usd, without_asking=without_asking)

    async def buy(service: client.Client) -> None:
        standing = Standing()
        try:
            ctid = await client.names.resolve(service, name)
            wish = schemas.RenewalQuoteRequest(ctid=ctid, runtime_minutes=minutes)
            service.cap_usd = await agreed(most, await service.quote(wish))
            with terminal.working("renewing the lease"):
                bought = await service.renew(ctid, minutes, on_progress=standing.note_sent)
        except asyncio.CancelledError:
            standing.tell()
            raise
        except client.ClientError as error:
            standing.tell_if_open(error)
            raise
        terminal.show(bought.answer, as_json=as_json)

    calls.run(credentials.buyer(url, token), buy)


def allowed(max_usd: str | None, *, without_asking: bool = False) -> Decimal | None:
    """Return the amount that we may pay without asking; None if we must ask the user."""
    if max_usd is None and without_asking:
        return client.DEFAULT_CAP_USD
    if max_usd is None:
        if not terminal.can_ask():
            terminal.misused("give --max-usd or --yes, or run this in a terminal")
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
    price_usd = client.prices.offered_usd(priced)
    if not await terminal.confirm(f"Pay {price_usd:f} USD?"):
        raise typer.Exit(exit_codes.NOT_PAID)
    return price_usd


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
