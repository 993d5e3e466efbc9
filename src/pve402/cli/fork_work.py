"""The work of `fork`."""

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import typer

from pve402 import client, schemas
from pve402.cli import calls, credentials, exit_codes, purchases, terminal


def check(url: str, token: str | None, name: str, snapshot: str | None, *, as_json: bool) -> None:
    """Show whether a container can be copied now."""

    async def asked(service: client.Client) -> schemas.ForkOffer:
        ctid = await client.names.resolve(service, name)
        return await client.forks.offer(service, ctid, snapshot)

    terminal.show(calls.run(credentials.holder(url, token), asked), as_json=as_json)


def fork(
    url: str,
    token: str | None,
    name: str,
    wanted: Mapping[str, Any],
    *,
    max_usd: str | None,
    without_asking: bool,
    as_json: bool,
) -> None:
    """Lease copies of a container, keep their tokens, and show what was leased."""
    most = purchases.allowed(max_usd, without_asking=without_asking)
    wish = schemas.ForkRequest(
        runtime_minutes=wanted["minutes"],
        count=wanted["count"],
        snapshot=wanted["snapshot"],
        hostname=wanted["hostname"],
    )

    async def buy(service: client.Client) -> None:
        standing = purchases.Standing()
        try:
            ctid = await client.names.resolve(service, name)
            service.cap_usd = await _agreed(most, service, ctid, wish)
            with terminal.working("copying the container"):
                bought = await client.forks.fork(service, ctid, wish, on_progress=standing.note)
            standing.note(bought.answer)
        except asyncio.CancelledError:
            standing.tell()
            raise
        except client.ClientError as error:
            standing.tell_if_open(error)
            raise
        _show(url, bought.answer, as_json=as_json)

    calls.run(credentials.buyer(url, token), buy)


async def _agreed(
    most: Decimal | None, service: client.Client, ctid: str, wish: schemas.ForkRequest
) -> Decimal:
    """Return the amount that we may pay: the cap, or the price if the user agrees to it now."""
    if most is not None:
        return most
    price_usd = await client.forks.price_usd(service, ctid, wish)
    what = "one copy" if wish.count == 1 else f"{wish.count} copies"
    question = f"Pay {price_usd:f} USD to run {what} for {wish.runtime_minutes} minutes?"
    if not await terminal.confirm(question):
        raise typer.Exit(exit_codes.NOT_PAID)
    return price_usd


def _show(url: str, answer: schemas.ForkAnswer, *, as_json: bool) -> None:
    """Keep the tokens of the copies, and show the copies: to people without them, if kept."""
    copies = [answer, *answer.others]
    delivered = [one for one in copies if one.access_token]
    kept = [credentials.keep(url, one, one.access_token) for one in delivered]
    if as_json or not all(kept):
        terminal.show(answer, as_json=as_json)
        return
    rows = [(one.hostname, one.lease_id, one.ctid or "", one.status) for one in copies]
    terminal.show_columns([("name", "leaseId", "ctid", "status"), *rows])
    terminal.say("next: `pve402 list`, and `pve402 shell`, `renew` or `end` with one of the names")
