"""Answers about the catalogue and prices."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from pve402 import schemas
from pve402.domain import catalogue, lease, networks, price
from pve402.payments import addresses, protocol


def offer(terms: protocol.Requirements) -> schemas.Offer:
    """Describe one way to pay."""
    chain = terms.chain
    return schemas.Offer(
        network=chain.name,
        network_id=chain.caip2,
        asset=addresses.checksum(terms.asset),
        symbol=chain.symbol,
        decimals=chain.decimals,
        amount=str(terms.amount_atomic),
        pay_to=addresses.checksum(terms.pay_to),
    )


def network(fee: protocol.Requirements) -> schemas.Network:
    """Describe one accepted network by the terms of its management fee."""
    return schemas.Network(**dict(offer(fee)), management_fee=str(fee.amount_atomic))


def quote(
    sku: str,
    size: lease.Size,
    minutes: int,
    price_usd: Fraction,
    offers: Sequence[protocol.Requirements],
    *,
    available: bool | None,
) -> schemas.Quote:
    """Describe the price of one request."""
    return schemas.Quote(
        sku=sku,
        runtime_minutes=minutes,
        cores=size.cores,
        memory_mb=size.memory_mb,
        disk_gb=size.disk_gb,
        price_usd=usd(price_usd),
        accepts=[offer(terms) for terms in offers],
        available=available,
    )


def profile(of: networks.NetworkProfile) -> schemas.NetworkProfile:
    """Describe how containers are connected."""
    return schemas.NetworkProfile(
        name=of.name,
        isolation=of.isolation.value,
        ipv4=_source(of.ipv4),
        ipv6=_source(of.ipv6),
        egress=of.egress.value,
        inbound="open" if of.is_open_inward or not of.is_isolated else "closed",
    )


def _source(addressing: networks.Addressing) -> schemas.AddressWord:
    if isinstance(addressing, networks.AddressPool):
        return "assigned"
    return addressing.value


def sku_item(sku: catalogue.Sku, network_profile: str) -> schemas.SkuItem:
    """Describe one shape on sale."""
    rates: dict[str, Any] = dict(sku.rates.to_strings())
    return schemas.SkuItem(
        sku=sku.name,
        description=sku.description,
        cores=_bounds(sku.cores),
        memory_mb=_bounds(sku.memory_mb),
        disk_gb=_bounds(sku.disk_gb),
        runtime_minutes=_bounds(sku.runtime_minutes),
        templates=sorted(sku.templates),
        network_profile=network_profile,
        **rates,
    )


def usd(value: Fraction) -> str:
    """Format an exact price; endless decimals are cut after 18 places."""
    return price.format_usd(Fraction(int(value * 10**18), 10**18))


def _bounds(bounds: catalogue.Bounds) -> schemas.Bounds:
    return schemas.Bounds(min=bounds.least, max=bounds.most)
