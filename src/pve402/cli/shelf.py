"""What is on sale: the work of `catalogue`."""

from collections.abc import Sequence

from pve402 import client, schemas
from pve402.cli import calls, terminal

_HEADS = ("sku", "cores", "MiB", "GiB", "minutes", "USD per minute", "what it is")
_ALSO_HEADS = ("USD per minute", "paused", "address", "GiB of snapshot", "GiB of private image")
_IMAGE_HEADS = ("image", "OS", "tag", "MiB", "updated", "sold with", "what it is")


def show(url: str, *, as_json: bool) -> None:
    """Show the skus, with the price of a minute of the smallest and the largest size."""
    found = calls.run(client.Client(url), lambda service: service.catalogue())
    if as_json:
        terminal.show(found, as_json=True)
        return
    tell(found)


def tell(found: schemas.CatalogueAnswer) -> None:
    """Print skus and images as columns, and what to do next."""
    terminal.show_columns([_HEADS, *map(_row, found.skus)])
    also = [row for row in map(_also, found.skus) if any(row[1:])]
    if also:
        terminal.show_columns([_ALSO_HEADS, *also])
    if found.images:
        terminal.show_columns([_IMAGE_HEADS, *(_image(one, found.skus) for one in found.images)])
    ways = ", ".join(f"{one.symbol} on {one.network}" for one in found.networks)
    terminal.say(f"paid in {ways}")
    terminal.say("next: `pve402 quote` shows an exact price, `pve402 lease --hostname web` leases")


def _row(item: schemas.SkuItem) -> tuple[str, ...]:
    bounds = (item.cores, item.memory_mb, item.disk_gb, item.runtime_minutes)
    prices = dict.fromkeys(one.minute_usd for one in item.prices)
    return (
        item.sku,
        *(f"{one.min}-{one.max}" for one in bounds),
        " to ".join(prices) or "see `pve402 quote`",
        item.description,
    )


def _also(item: schemas.SkuItem) -> tuple[str, ...]:
    """What a sku's minute costs beside or instead of its size."""
    rates = (
        item.paused_usd_minute,
        item.address_usd_minute,
        item.snapshot_gb_usd_minute,
        item.image_gb_usd_minute,
    )
    return (item.sku, *(rate or "" for rate in rates))


def _image(item: schemas.Image, skus: Sequence[schemas.SkuItem]) -> tuple[str, ...]:
    return (
        item.name,
        item.os,
        item.tag or "",
        "" if item.size_bytes is None else str(item.size_bytes // 2**20),
        "" if item.updated_at is None else f"{item.updated_at:%Y-%m-%d}",
        ", ".join(sku.sku for sku in skus if item.name in sku.templates),
        item.description,
    )
