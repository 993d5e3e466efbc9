"""Checks a catalogue before it is put in place, and puts the file of the settings on sale."""

import sys
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from rich.console import Console

from pve402 import bootstrap, config
from pve402.bootstrap import catalogue_file
from pve402.domain import catalogue, errors, making, networks, price
from pve402.storage import address_rows

EXIT_REFUSED: Final = 1


async def check(parts: bootstrap.Components, console: Console, *, file: Path | None) -> int:
    """Say whether a catalogue can be used, and what it would change; 1 if it cannot.

    Without a file, check the one of the settings.
    """
    source = catalogue_file.source(parts.settings, file)
    try:
        found = source.parse(source.load().text)
    except (catalogue.CatalogueError, config.SettingsError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_REFUSED
    skus, sold = len(found.skus), ", ".join(sorted(found.skus))
    console.print(f"it can be used; on sale: {sold}" if skus else "it can be used")
    if parts.on_sale.is_known and parts.on_sale.version.number:
        number = parts.on_sale.version.number
        changes = list(_changes(parts.on_sale.now, found)) + await _lost_addresses(parts, found)
        console.print(f"compared with version {number}, which is on sale:")
        for change in changes or ["nothing changes"]:
            console.print(f"  {change}", soft_wrap=True)
    return 0


async def reload(parts: bootstrap.Components, console: Console) -> int:
    """Put the file of the settings on sale, for all replicas; 1 if it cannot be used."""
    try:
        made = await parts.versions.publish()
    except (catalogue.CatalogueError, config.SettingsError) as error:
        sys.stderr.write(f"{error}\nwhat is on sale stays on sale\n")
        return EXIT_REFUSED
    number = parts.on_sale.version.number
    console.print(
        f"version {number} is on sale; replicas follow within seconds"
        if made
        else f"the file is version {number} already, which is on sale"
    )
    return 0


def _changes(before: catalogue.Catalogue, after: catalogue.Catalogue) -> Iterator[str]:
    for name in sorted(before.skus.keys() | after.skus.keys()):
        old, new = before.skus.get(name), after.skus.get(name)
        if old is None:
            yield f"sku {name}: new"
        elif new is None:
            yield f"sku {name}: no longer on sale; its leases run on, renewed at their own rates"
        else:
            yield from _sku_changes(before, after, old, new)
    if before.management_fee_usd != after.management_fee_usd:
        fees = (before.management_fee_usd, after.management_fee_usd)
        yield "fee of a call: {} -> {} USD".format(*map(price.format_usd, fees))
    for name in sorted(before.images.keys() & after.images.keys()):
        if before.images[name].template != after.images[name].template:
            yield f"image {name}: another template, for new containers alone"
    for name in sorted(before.networks.keys() | after.networks.keys()):
        yield from _network_changes(name, before.networks.get(name), after.networks.get(name))


def _sku_changes(
    before: catalogue.Catalogue,
    after: catalogue.Catalogue,
    old: catalogue.Sku,
    new: catalogue.Sku,
) -> Iterator[str]:
    was, becomes = old.rates.to_strings(), new.rates.to_strings()
    for rate in dict.fromkeys((*was, *becomes)):
        before_it, after_it = was.get(rate, "none"), becomes.get(rate, "none")
        if before_it != after_it:
            yield f"sku {new.name}: {rate} {before_it} -> {after_it}"
    for bound in ("cores", "memory_mb", "disk_gb", "runtime_minutes", "templates", "nodes"):
        if getattr(old, bound) != getattr(new, bound):
            yield f"sku {new.name}: {bound} changes"
    if making.of_sku(before, old).made_of != making.of_sku(after, new).made_of:
        yield f"sku {new.name}: containers are made differently; its warm ones are made anew"


def _network_changes(
    name: str, old: networks.NetworkProfile | None, new: networks.NetworkProfile | None
) -> Iterator[str]:
    if old is None:
        yield f"network {name}: new"
    elif new is None:
        yield f"network {name}: gone; containers in it run on"
    elif old.isolation is not new.isolation:
        was, becomes = old.isolation.value, new.isolation.value
        yield f"network {name}: isolation {was} -> {becomes}, for new containers alone"


async def _lost_addresses(parts: bootstrap.Components, after: catalogue.Catalogue) -> list[str]:
    """Say which addresses in use no pool hands out any more."""
    try:
        async with parts.db.read() as tx:
            held = await address_rows.list_held(tx)
    except errors.DatabaseUnavailable:
        return []
    lost = sorted(
        (address, network)
        for address, network in held
        if network in after.networks and not after.networks[network].hands_out([address])
    )
    return [
        f"network {network}: {ip_address(address)} is in use and in no pool any more; its lease"
        " keeps it"
        for address, network in lost
    ]
