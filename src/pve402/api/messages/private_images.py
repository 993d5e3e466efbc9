"""Private images as answers show them."""

from typing import Any

from pve402 import schemas
from pve402.api.messages import leases
from pve402.domain import meter, price, private_images
from pve402.domain.lease import Lease
from pve402.domain.order import OrderStatus
from pve402.leases import service


def answer(images: list[Lease], at_most: int) -> schemas.PrivateImagesAnswer:
    """The images of a wallet."""
    return schemas.PrivateImagesAnswer(images=[item(one) for one in images], at_most=at_most)


def item(image: Lease) -> schemas.PrivateImageItem:
    """One of them."""
    return schemas.PrivateImageItem(**_facts(image))


def bought(answered: service.Answer, words: str) -> schemas.SavedImageAnswer:
    """Describe a purchase; it may still be in progress."""
    image, paid = answered.lease, answered.order
    message = f"{words}{leases.until(image.expires_at)}."
    if paid.is_open:
        message = "This is still in progress; ask again with the same payment."
    return schemas.SavedImageAnswer(
        **_facts(image),
        message=message,
        access_token=answered.access_token,
        network=leases.network_name(paid.network),
        amount=str(paid.amount_atomic),
        transaction=paid.transaction if paid.status is OrderStatus.SETTLED else None,
    )


def _facts(image: Lease) -> dict[str, Any]:
    metered = meter.of(image)
    burn = meter.burn_of(image.rates, image.size) if metered is None else metered.burn
    return {
        "image_id": image.lease_id,
        "template": private_images.template_of(image.lease_id),
        "name": image.hostname,
        "status": leases.status(image),
        "disk_gb": image.size.disk_gb,
        "minute_usd": price.format_usd(meter.minute_usd(burn)),
        "created_at": image.created_at,
        "expires_at": image.expires_at,
        "deletes_at": image.deletes_at,
        "sku": image.sku,
        "source_lease_id": private_images.saved_from(image),
        "source_template": image.metadata.get("template"),
        "end_reason": image.end_reason,
        "owner_wallet": leases.owner_wallet(image.account),
    }
