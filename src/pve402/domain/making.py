"""How new guests of a sku are made: where they may be, how they are connected."""

import dataclasses
import hashlib
import json
from collections.abc import Container
from typing import Any

from pve402.domain import catalogue, networks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Making:
    """What the catalogue says about a new guest, apart from its size and its template."""

    network: networks.NetworkProfile
    nodes: frozenset[str]  # empty: any
    storages: tuple[str, ...]  # the preferred one first; empty: any
    made_of: str


def of_sku(on_sale: catalogue.Catalogue, sku: catalogue.Sku) -> Making:
    """Return how new guests of a sku are made."""
    return _making(sku, on_sale.network_of(sku))


def of_names(on_sale: catalogue.Catalogue, sku: str, network: str) -> Making | None:
    """Return how a guest is made again; None if its network is gone.

    A sku that is no longer on sale does not say where its guests may be.
    """
    profile = on_sale.networks.get(network)
    return None if profile is None else _making(on_sale.skus.get(sku), profile)


def _making(sku: catalogue.Sku | None, network: networks.NetworkProfile) -> Making:
    return Making(
        network=network,
        nodes=frozenset() if sku is None else sku.nodes,
        storages=() if sku is None else sku.storages,
        made_of=digest(sku, network),
    )


def digest(sku: catalogue.Sku | None, network: networks.NetworkProfile) -> str:
    """Return a digest of what a guest is made from.

    Guests are the same if theirs is, whatever else changes: prices, bounds, or which addresses of
    a subnet are handed out. A new option that is not used changes nothing.
    """
    parts = {**_differing(network), "nesting": sku is None or sku.nesting}
    if sku is not None:
        parts |= _differing(sku, {"swap", "cpu_limit", "cpu_units"})
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _differing(options: Any, names: Container[str] | None = None) -> dict[str, Any]:
    """Return the options that are not as they are without being named."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if isinstance(value, networks.AddressPool):
            value = (value.subnet, value.gateway)
        if value != field.default and (names is None or field.name in names):
            found[field.name] = value
    return found
