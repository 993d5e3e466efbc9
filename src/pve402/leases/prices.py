"""Prices: of the catalogue on sale, and of those before it that still hold.

A tenant signs what a 402 asked for. If the catalogue is replaced meanwhile, the signed price still
buys, for as long as such a payment may be valid; then it is asked for anew. What is bought is
checked against the catalogue on sale: a sku or a size that is gone is not sold at any price.
"""

import dataclasses
import functools
from collections.abc import Iterable
from fractions import Fraction

from pve402.domain import catalogue, errors, lease, price, request, snapshot_burns
from pve402.leases import catalogue_versions, on_sale
from pve402.payments import networks, protocol


class Prices:
    """Computes prices. Every list begins with today's and has no price twice."""

    def __init__(self, selling: on_sale.OnSale, versions: catalogue_versions.Versions) -> None:
        self._on_sale = selling
        self._versions = versions
        self._lease_usd = functools.lru_cache(maxsize=4096)(_lease_usd)

    @property
    def version(self) -> int:
        """The number of the catalogue on sale."""
        return self._on_sale.version.number

    @property
    def problem(self) -> str | None:
        """Why this replica's file is not what is on sale; None if it is."""
        return self._versions.problem

    async def look(self) -> bool:
        """Look for a newer catalogue, as another replica may know one; return whether there was."""
        return await self._versions.refresh()

    def of_creation(self, asked: request.CreationRequest) -> list[Fraction]:
        """Return the exact prices of a creation; raise InvalidRequest if it cannot be sold."""
        asked.check(self._on_sale.now)
        today = self._lease_usd(self._on_sale.version, asked.sku, asked.size, asked.minutes)
        held = (sold.skus.get(asked.sku) for sold in self._on_sale.held())
        before = (_price(sku, asked) for sku in held if sku is not None)
        return _unique([today * asked.count, *before])

    def of_renewal(self, row: lease.Lease, minutes: int) -> list[Fraction]:
        """Return the exact prices of a renewal, from what is stored with the lease.

        At today's rates of its sku, or at those of its creation if the sku is gone.
        """
        if not 1 <= minutes <= catalogue.MAX_MINUTES:
            raise errors.OutOfBounds(f"runtimeMinutes must be 1 to {catalogue.MAX_MINUTES}")
        sold = (self._on_sale.now, *self._on_sale.held())
        rates = (_renewal_rates(row, one) for one in sold)
        return _unique(
            price.lease_price_usd(
                one, row.size, minutes, addresses=row.address_count, with_base=False
            )
            + minutes * snapshot_burns.minute_usd(row, one)
            for one in rates
        )

    def of_snapshots(self, row: lease.Lease) -> Fraction:
        """Return what a minute of a renewal costs today for the snapshots that a lease keeps."""
        return snapshot_burns.minute_usd(row, _renewal_rates(row, self._on_sale.now))

    def of_call(self) -> list[Fraction]:
        """Return the fees of a management call."""
        sold = (self._on_sale.now, *self._on_sale.held())
        return _unique(one.management_fee_usd for one in sold)

    def as_paid(
        self,
        sku: catalogue.Sku,
        asked: request.CreationRequest,
        terms: protocol.Requirements,
    ) -> catalogue.Sku:
        """Return a sku with the rates at which it was paid, which its lease keeps."""
        decimals = networks.BY_CAIP2[terms.network].decimals
        for sold in self._on_sale.held():
            before = sold.skus.get(sku.name)
            if before is None or price.atomic_units(_price(sku, asked), decimals) == (
                terms.amount_atomic
            ):
                continue
            if price.atomic_units(_price(before, asked), decimals) == terms.amount_atomic:
                return dataclasses.replace(sku, rates=before.rates)
        return sku


def _lease_usd(version: on_sale.Version, sku: str, size: lease.Size, minutes: int) -> Fraction:
    return version.catalogue.sku(sku).price_usd(size, minutes)


def _price(sku: catalogue.Sku, asked: request.CreationRequest) -> Fraction:
    return sku.price_usd(asked.size, asked.minutes) * asked.count


def _renewal_rates(row: lease.Lease, sold: catalogue.Catalogue) -> price.Rates:
    sku = sold.skus.get(row.sku)
    return sku.rates if sku is not None else price.Rates.from_strings(row.rates)


def _unique(prices: Iterable[Fraction]) -> list[Fraction]:
    return list(dict.fromkeys(prices))
