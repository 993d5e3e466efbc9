"""The work of `images`, `save` and `keep`."""

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Final

import typer

from pve402 import client, schemas
from pve402.cli import calls, credentials, exit_codes, purchases, terminal

_Buy = Callable[
    [Callable[[schemas.LeaseAnswer | None], None]],
    Awaitable[client.Bought[schemas.SavedImageAnswer]],
]
_HEADS: Final = ("name", "status", "GiB", "USD per minute", "until", "template")


def show(url: str, token: str | None, *, delete: str | None, as_json: bool) -> None:
    """Show the images, after deleting one of them if told to."""

    async def asked(service: client.Client) -> schemas.PrivateImagesAnswer:
        if delete is not None:
            found = await client.private_images.find(service, delete)
            await client.private_images.delete(service, found.image_id)
        return await client.private_images.show_all(service)

    answer = calls.run(credentials.holder(url, token), asked)
    if as_json:
        terminal.show(answer, as_json=True)
        return
    if answer.images:
        terminal.show_columns([_HEADS, *map(_row, answer.images)])
    terminal.say(f"{len(answer.images)} of {answer.at_most} private images")


def save(  # noqa: PLR0913 -- one option each
    url: str,
    token: str | None,
    name: str,
    image: str,
    minutes: int,
    *,
    snapshot: str | None,
    max_usd: str | None,
    without_asking: bool,
    as_json: bool,
) -> None:
    """Save a container after the user agrees to the price, and show the image."""
    most = purchases.allowed(max_usd, without_asking=without_asking)

    async def buy(service: client.Client) -> schemas.SavedImageAnswer:
        ctid = await client.names.resolve(service, name)
        price = await client.private_images.saving_usd(service, ctid, minutes)
        service.cap_usd = await _agreed(most, price, minutes)
        with terminal.working("saving the container"):
            return await _paid(
                lambda sent: client.private_images.save(
                    service, ctid, image, minutes=minutes, snapshot=snapshot, on_progress=sent
                )
            )

    answer = calls.run(credentials.buyer(url, token), buy)
    if as_json:
        terminal.show(answer, as_json=True)
        return
    terminal.show(answer.model_copy(update={"access_token": None}), as_json=False)
    terminal.say(
        f"next: `pve402 lease --hostname web --sku {answer.sku} --disk-gb {answer.disk_gb}"
        f" --template {answer.template}`, `pve402 images`"
    )


def keep(
    url: str,
    name: str,
    minutes: int,
    *,
    max_usd: str | None,
    without_asking: bool,
    as_json: bool,
) -> None:
    """Keep an image longer after the user agrees to the price, and show it."""
    most = purchases.allowed(max_usd, without_asking=without_asking)

    async def buy(service: client.Client) -> schemas.SavedImageAnswer:
        found = await client.private_images.find(service, name)
        price = client.private_images.price_usd(found.minute_usd, minutes)
        service.cap_usd = await _agreed(most, price, minutes)
        with terminal.working("renewing the image"):
            return await _paid(
                lambda sent: client.private_images.renew(
                    service, found.image_id, minutes, on_progress=sent
                )
            )

    terminal.show(calls.run(credentials.buyer(url), buy), as_json=as_json)


async def _paid(buy: _Buy) -> schemas.SavedImageAnswer:
    """Buy, and say so if the payment may still be taken after an error."""
    standing = client.standing.Standing()
    try:
        return (await buy(standing.note_sent)).answer
    except (asyncio.CancelledError, client.ClientError) as error:
        if standing.is_open_after(error) if isinstance(error, Exception) else standing.is_sent:
            terminal.say(
                "a payment was sent, and its outcome is not known yet\n"
                "`pve402 images` shows the image and its end, once it is paid"
            )
        raise


async def _agreed(most: Decimal | None, price: Decimal | None, minutes: int) -> Decimal:
    """Return what may be paid: the cap, or the price if the user agrees to it now."""
    if most is not None:
        return most
    if price is None:
        return Decimal(0)  # the service refuses it, and says why
    if not await terminal.confirm(f"Pay {price:f} USD for {minutes} minutes?"):
        raise typer.Exit(exit_codes.NOT_PAID)
    return price


def _row(item: schemas.PrivateImageItem) -> tuple[str, str, str, str, str, str]:
    ends = item.deletes_at or item.expires_at
    until = terminal.moment(ends)
    return item.name, item.status, str(item.disk_gb), item.minute_usd, until, item.template
