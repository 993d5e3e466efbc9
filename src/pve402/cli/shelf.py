"""What is on sale: the work of `catalogue`."""

from pve402 import client, schemas
from pve402.cli import calls, terminal

_HEADS = ("sku", "cores", "MiB", "GiB", "minutes", "USD per minute", "what it is")


def show(url: str, *, as_json: bool) -> None:
    """Show the skus, with the price of a minute of the smallest and the largest size."""
    found = calls.run(client.Client(url), lambda service: service.catalogue())
    if as_json:
        terminal.show(found, as_json=True)
        return
    terminal.show_columns([_HEADS, *map(_row, found.skus)])
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
