"""An installation that offers private images, and tenants who save, keep and use them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from tests.support.images import SHIPPED, SKU
from tests.support.installation import Installation, World, creation, running

from pve402.domain import lease, price, private_images, request
from pve402.leases import outcome, service
from pve402.leases.images import saving_orders

RATE = "0.00004"
TINY = lease.Size(cores=1, memory_mb=256, disk_gb=2)


def catalogue(tmp_path: Path, more: str = "", rate: str = RATE) -> Path:
    """The shipped catalogue, whose last sku offers private images."""
    file = tmp_path / "private.toml"
    file.write_text(f'{SHIPPED}\nimage_gb_usd_minute = "{rate}"\n{more}')
    return file


@pytest.fixture
async def shop(tmp_path: Path, image_world: World) -> AsyncIterator[Installation]:
    """A running installation that offers private images."""
    url, file = f"sqlite:///{tmp_path}/db.sqlite3", catalogue(tmp_path)
    async with running(url, *image_world, pve402_catalogue=file) as made:
        yield made


def asked(row: lease.Lease, name: str = "tools", minutes: int = 60, **more: Any) -> Any:
    """A wish to save a lease."""
    return saving_orders.SaveRequest(lease_id=row.lease_id, name=name, minutes=minutes, **more)


def payment(
    shop: Installation, key: LocalAccount, row: lease.Lease, minutes: int = 60, **changes: Any
) -> service.Purchase:
    """The payment for a saving."""
    usd = shop.parts.private_images.prices_of_saving(row, minutes)[0]
    return shop.purchase(key, price.atomic_units(usd, 6), **changes)


async def source(shop: Installation, key: LocalAccount, **changes: Any) -> lease.Lease:
    """A lease whose container is stopped, with a file of its tenant's."""
    wish = {"sku": SKU, "size": TINY, **changes}
    row = (await shop.lease(key, **wish)).lease
    await shop.leases.stop(row)
    await shop.settled_down()
    return await shop.leases.find(row.lease_id)


async def save(
    shop: Installation, key: LocalAccount, row: lease.Lease, **changes: Any
) -> outcome.Answer:
    """Save a lease to its end."""
    wish = asked(row, **changes)
    paying = payment(shop, key, row, wish.minutes)
    return await shop.parts.private_images.save(row, wish, paying, None)


def wish_from(image: lease.Lease, **changes: Any) -> request.CreationRequest:
    """A wish for a container from an image."""
    template = private_images.template_of(image.lease_id)
    return creation(**{"sku": SKU, "size": TINY, "template": template, **changes})


async def images(shop: Installation) -> list[lease.Lease]:
    """The rows of private images, over or not."""
    return [row for row in await shop.leases_now() if row.is_private_image]
