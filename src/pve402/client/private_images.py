"""Private images: what a container leaves behind for a wallet, to lease others from.

async with client.Client("https://rent.example.com", key="0x...") as service:
    saved = await client.private_images.save(service, "10001", "build-tools", minutes=1440)
    wish = schemas.LeaseRequest(..., template=saved.answer.template)
"""

import contextlib
from decimal import Decimal
from typing import TypeVar
from urllib.parse import quote

from pydantic import BaseModel

from pve402 import schemas
from pve402.client import errors, ledger, transport
from pve402.client.buying import Bought, Progress
from pve402.client.client import Client

Answer = TypeVar("Answer", bound=BaseModel)


async def save(  # noqa: PLR0913 -- one option each
    service: Client,
    ctid: str,
    name: str,
    *,
    minutes: int,
    snapshot: str | None = None,
    idempotency_key: str | None = None,
    on_progress: Progress | None = None,
    cap_usd: Decimal | None = None,
    book: ledger.Ledger | None = None,
) -> Bought[schemas.SavedImageAnswer]:
    """Save a container that is stopped, or a snapshot of it; the wallet pays and owns the image.

    `on_progress` is called with None just before the payment is sent.

    Raises OverCap, KeyNeeded, Refused, ServiceUnreachable.
    """
    wish = schemas.SaveRequest(name=name, runtime_minutes=minutes, snapshot=snapshot)
    return await service.buy(
        f"/lease/{ctid}/image",
        transport.document(wish),
        schemas.SavedImageAnswer,
        ctid,
        idempotency_key=idempotency_key,
        on_progress=on_progress,
        cap_usd=cap_usd,
        book=book,
    )


async def renew(
    service: Client,
    image_id: str,
    minutes: int,
    *,
    idempotency_key: str | None = None,
    on_progress: Progress | None = None,
    cap_usd: Decimal | None = None,
    book: ledger.Ledger | None = None,
) -> Bought[schemas.SavedImageAnswer]:
    """Keep an image longer. Raises as `save`."""
    return await service.buy(
        f"{_path(image_id)}/renew",
        {"runtimeMinutes": minutes},
        schemas.SavedImageAnswer,
        image_id,
        idempotency_key=idempotency_key,
        on_progress=on_progress,
        cap_usd=cap_usd,
        book=book,
    )


async def show_all(service: Client) -> schemas.PrivateImagesAnswer:
    """The wallet's images. Raises KeyNeeded, Refused, ServiceUnreachable."""
    return await _call(service, "GET", "/images/private", schemas.PrivateImagesAnswer)


async def show(service: Client, image_id: str) -> schemas.PrivateImageItem:
    """One image. Raises as `show_all`."""
    return await _call(service, "GET", _path(image_id), schemas.PrivateImageItem)


async def delete(service: Client, image_id: str) -> schemas.PrivateImageItem:
    """Delete an image; nothing is refunded. Raises as `show_all`."""
    return await _call(service, "DELETE", _path(image_id), schemas.PrivateImageItem)


async def find(service: Client, name: str) -> schemas.PrivateImageItem:
    """The wallet's image of a name or an imageId. Raises NameUnknown, NameAmbiguous, as `show_all`.

    Two wallets of one key may each have an image of that name, on two networks.
    """
    found = [one for one in (await show_all(service)).images if name in {one.name, one.image_id}]
    if not found:
        raise errors.NameUnknown(
            f"this wallet has no private image called {errors.plain(name, 64)}"
        )
    if len(found) > 1:
        raise errors.NameAmbiguous(f"more than one image is called {errors.plain(name, 64)}")
    return found[0]


def price_usd(minute_usd: str, minutes: int) -> Decimal:
    """The price of some minutes, in whole millionths of a USD, rounded up.

    Raises UnexpectedAnswer if the price of one is not a number.
    """
    with contextlib.suppress(ArithmeticError):
        exact = Decimal(minute_usd) * minutes
        if exact.is_finite():
            return exact.quantize(Decimal("0.000001"), rounding="ROUND_CEILING")
    raise errors.UnexpectedAnswer("the price in the service's answer is not a number")


async def saving_usd(service: Client, ctid: str, minutes: int) -> Decimal | None:
    """What it costs to save a container; None if its sku offers no images. Raises as `show_all`."""
    lease = await service.show(ctid)
    for sku in (await service.catalogue()).skus:
        if sku.sku == lease.sku and sku.image_gb_usd_minute is not None:
            return price_usd(sku.image_gb_usd_minute, minutes * lease.disk_gb)
    return None


def _path(image_id: str) -> str:
    return f"/images/private/{quote(image_id, safe='') or '-'}"


async def _call(service: Client, method: str, path: str, answered: type[Answer]) -> Answer:
    async with service.opened(method, path, None, timeout=transport.WHOLE) as answer:
        return transport.read(await transport.read_reply(answer), answered)
