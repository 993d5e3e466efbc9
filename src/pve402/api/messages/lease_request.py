"""Translates the body of a lease request into domain values."""

import dataclasses
from typing import Any

from pve402 import schemas
from pve402.api.transport import body
from pve402.domain import catalogue, ssh_keys
from pve402.domain.lease import Size
from pve402.domain.request import CreationRequest


def to_creation(wish: schemas.LeaseRequest, *, priced_only: bool = False) -> CreationRequest:
    """Translate the body into a domain request; with `priced_only`, for a quote."""
    keys = tuple(map(ssh_keys.tidy, wish.ssh_public_keys))
    password = wish.password
    if priced_only and password is None and not keys:
        password = "unused-in-a-quote"  # noqa: S105 -- a price needs no credential
    return CreationRequest(
        sku=wish.sku,
        minutes=wish.runtime_minutes,
        hostname=wish.hostname,
        size=Size(cores=wish.cores, memory_mb=wish.memory_mb, disk_gb=wish.disk_gb),
        template=wish.template,
        password=password,
        ssh_public_keys=keys,
        metadata=_metadata(wish),
        wake_on=tuple(dict.fromkeys(wish.wake_on or ())),
        idle_pause_minutes=wish.idle_pause_minutes,
        env=wish.env or {},
        user_data=wish.user_data,
        user_data_skips_network=wish.user_data is not None and wish.user_data_network is False,
    )


def cheapest(on_sale: catalogue.Catalogue) -> dict[str, Any]:
    """Return a request for the cheapest lease, for catalogues of x402, some of which replay it.

    Nobody can log in to it: it has a key that nobody owns, and no password that everybody knows.
    """
    sku = min(on_sale.skus.values(), key=catalogue.Sku.lowest_price_usd)
    wish = schemas.LeaseRequest(
        sku=sku.name,
        runtime_minutes=sku.runtime_minutes.least,
        **dataclasses.asdict(sku.smallest),
        ssh_public_keys=[schemas.EXAMPLE_KEY],
    )
    return wish.model_dump(by_alias=True, exclude_defaults=True)


def _metadata(wish: schemas.LeaseRequest) -> dict[str, Any]:
    named = {"requester": wish.requester, "payload": wish.payload}
    metadata = {name: value for name, value in named.items() if value is not None}
    body.check_size("payload", metadata, schemas.MAX_METADATA_CHARACTERS)
    return metadata
