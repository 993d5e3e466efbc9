"""Answers about the catalogue and prices."""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from pve402 import schemas
from pve402.domain import catalogue, image_tables, lease, networks, price, quota
from pve402.payments import addresses, protocol
from pve402.proxmox import storage


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
    return schemas.Network(
        **dict(offer(fee)),
        management_fee=str(fee.amount_atomic),
        title=fee.chain.title,
        currency=fee.chain.currency,
        explorer_url=fee.chain.explorer_url,
        rpc_url=fee.chain.rpc_url,
    )


def quote(
    sku: str,
    size: lease.Size,
    minutes: int,
    price_usd: Fraction,
    offers: Sequence[protocol.Requirements],
    *,
    available: bool | None,
    connected: networks.NetworkProfile | None = None,
) -> schemas.Quote:
    """Describe the price of one request; of a creation with its network."""
    return schemas.Quote(
        sku=sku,
        runtime_minutes=minutes,
        cores=size.cores,
        memory_mb=size.memory_mb,
        disk_gb=size.disk_gb,
        price_usd=usd(price_usd),
        address_count=len(connected.known) if connected else 0,
        accepts=[offer(terms) for terms in offers],
        available=available,
        network_pending_seconds=connected.pending_seconds if connected else 0,
        network_ahead_seconds=connected.ahead_seconds if connected else 0,
    )


def renewal_quote(
    row: lease.Lease,
    minutes: int,
    price_usd: Fraction,
    offers: Sequence[protocol.Requirements],
    *,
    snapshots_usd: Fraction,
) -> schemas.Quote:
    """Describe the price of a renewal, of which snapshots cost so much a minute."""
    found = quote(row.sku, row.size, minutes, price_usd, offers, available=True)
    held = {"address_count": row.address_count, "snapshots_minute_usd": usd(snapshots_usd)}
    return found.model_copy(update=held)


def waits(connected: networks.NetworkProfile) -> str:
    """Say in a 402 how long a new container's network takes; empty if no time."""
    if connected.ahead_seconds:
        return f"; the creation takes about {connected.ahead_seconds} seconds for its address"
    if connected.pending_seconds:
        return f"; the network is pending for up to {connected.pending_seconds} seconds at first"
    return ""


def profile(network: networks.NetworkProfile) -> schemas.NetworkProfile:
    """Describe how containers are connected."""
    return schemas.NetworkProfile(
        name=network.name,
        isolation=network.isolation.value,
        ipv4=_source(network.ipv4),
        ipv6=_source(network.ipv6),
        egress=network.egress.value,
        inbound=network.inbound.value if network.is_isolated else "open",
        pending_seconds=network.pending_seconds,
        ahead_seconds=network.ahead_seconds,
    )


def _source(addressing: networks.Addressing) -> schemas.AddressWord:
    if isinstance(addressing, networks.AddressPool):
        return "assigned"
    if isinstance(addressing, networks.Learned):
        return addressing.method.value
    return addressing.value


def sku_item(sku: catalogue.Sku, templates: Sequence[str], network_profile: str) -> schemas.SkuItem:
    """Describe one shape on sale, and the templates that may be chosen now."""
    rates: dict[str, Any] = dict(sku.rates.to_strings())
    return schemas.SkuItem(
        sku=sku.name,
        description=sku.description,
        cores=_bounds(sku.cores),
        memory_mb=_bounds(sku.memory_mb),
        disk_gb=_bounds(sku.disk_gb),
        runtime_minutes=_bounds(sku.runtime_minutes),
        templates=list(templates),
        network_profile=network_profile,
        address_count=sku.address_count,
        prices=[_size_price(sku, size) for size in dict.fromkeys((sku.smallest, sku.largest))],
        **rates,
    )


def image(named: image_tables.Image, file: storage.Template | None) -> schemas.Image:
    """Describe what new containers can be made from; `file` is what Proxmox shows of it."""
    return schemas.Image(
        name=named.name,
        os=named.os,
        description=named.description,
        size_bytes=None if file is None else file.size_bytes,
        updated_at=None if file is None else file.created_at,
        tag=None if named.reference is None else named.reference.tag,
    )


def _size_price(sku: catalogue.Sku, size: lease.Size) -> schemas.SizePrice:
    def of(minutes: int) -> str:
        return usd(sku.price_usd(size, minutes, with_base=False))

    return schemas.SizePrice(
        **dataclasses.asdict(size),
        minute_usd=of(1),
        hour_usd=of(60),
        thirty_days_usd=of(30 * 24 * 60),
    )


def limits(
    allowed: quota.Quotas,
    paid_ahead_seconds: float,
    *,
    address_requests: int | None,
    wallet_requests: int | None,
    new_wallet_requests: int | None,
) -> schemas.Limits:
    """Describe what the operator allows."""
    return schemas.Limits(
        wallet=_quota(allowed.wallet),
        address=_quota(allowed.address),
        new_wallets=_quota(allowed.new_wallets),
        paid_ahead_days=paid_ahead_seconds / 86400,
        address_requests_a_minute=address_requests,
        wallet_requests_a_minute=wallet_requests,
        new_wallet_requests_a_minute=new_wallet_requests,
    )


def _quota(of: quota.Quota) -> schemas.QuotaAnswer:
    return schemas.QuotaAnswer(**dataclasses.asdict(of))


def usd(value: Fraction) -> str:
    """Format an exact price; endless decimals are cut after 18 places."""
    return price.format_usd(Fraction(int(value * 10**18), 10**18))


def _bounds(bounds: catalogue.Bounds) -> schemas.Bounds:
    return schemas.Bounds(min=bounds.least, max=bounds.most)
