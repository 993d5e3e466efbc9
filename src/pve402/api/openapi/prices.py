"""Tells in the OpenAPI document what each route costs, as `x-payment-info`.

Crawlers of x402 read it to learn which routes ask for a payment before they call one. Prices are
those of the catalogue that is on sale, so the document follows it.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final

from pve402.api.messages import prices as messages
from pve402.domain import catalogue

_PROTOCOLS: Final[list[dict[str, Any]]] = [{"x402": {}}]


def tell(document: Mapping[str, Any], on_sale: catalogue.Catalogue) -> None:
    """Write the prices of every paid operation into a document."""
    amount = messages.usd(on_sale.management_fee_usd)
    fee = {"mode": "fixed", "currency": "USD", "amount": amount}
    own = {"/lease/container": _leases(on_sale), "/lease/{ctid}/renew": _renewals(on_sale)}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if "402" in operation["responses"]:
                told = {"price": own.get(path, fee), "protocols": _PROTOCOLS}
                operation["x-payment-info"] = told


def _leases(on_sale: catalogue.Catalogue) -> dict[str, str]:
    return _range(on_sale.lowest_price_usd(), max(map(_dearest, on_sale.skus.values())))


def _renewals(on_sale: catalogue.Catalogue) -> dict[str, str]:
    return _range(on_sale.lowest_minute_usd(), max(map(_dearest, on_sale.skus.values())))


def _range(least: Fraction, most: Fraction) -> dict[str, str]:
    return {
        "mode": "dynamic",
        "currency": "USD",
        "min": messages.usd(least),
        "max": messages.usd(most),
    }


def _dearest(sku: catalogue.Sku) -> Fraction:
    return sku.price_usd(sku.largest, sku.runtime_minutes.most)
