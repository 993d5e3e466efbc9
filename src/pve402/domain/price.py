"""Exact prices: decimal rates in USD, integer atomic units out, rounded up once."""

import dataclasses
import math
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Self

from pve402.domain import lease

MEMORY_MB_PER_GB = 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rates:
    """What a sku costs in USD: once, and per minute for each of what a lease has.

    A rate with a default may be left out; it then stands neither with a lease nor on sale.
    """

    base_usd: Fraction
    core_minute_usd: Fraction
    memory_gb_minute_usd: Fraction
    disk_gb_minute_usd: Fraction
    paused_usd_minute: Fraction = Fraction(0)  # of a paused lease of any size; 0: none is paused
    address_usd_minute: Fraction = Fraction(0)  # of each address that its network gives it alone
    snapshot_gb_usd_minute: Fraction = Fraction(0)  # of a kept snapshot's disk, whatever it holds
    image_gb_usd_minute: Fraction = Fraction(0)  # of a private image; 0: none is saved

    @classmethod
    def from_strings(cls, rates: Mapping[str, str]) -> Self:
        """Build rates from decimal strings; raises ValueError for a missing or invalid one."""
        needed = {name: parse_usd(rates[name]) for name in NEEDED}
        return cls(**needed, **{name: parse_usd(rates.get(name, "0")) for name in OPTIONAL})

    def to_strings(self) -> dict[str, str]:
        """Return the rates as decimal strings, to store with a lease; optional ones if set."""
        found = {name: getattr(self, name) for name in (*NEEDED, *OPTIONAL)}
        return {name: format_usd(rate) for name, rate in found.items() if rate or name in NEEDED}


OPTIONAL = tuple(each.name for each in dataclasses.fields(Rates) if each.default == 0)
"""Rates that may be left out: what they are for is then not sold."""
NEEDED = tuple(each.name for each in dataclasses.fields(Rates) if each.name not in OPTIONAL)


def parse_usd(text: str) -> Fraction:
    """Return the exact value of a decimal string such as `0.0002`.

    Raises ValueError unless it is finite, not negative, and has at most 18 decimal places.
    """
    try:
        value = Decimal(text)
    except ArithmeticError as error:
        raise ValueError(f"not a decimal amount in USD: {text!r}") from error
    if not value.is_finite() or value < 0:
        raise ValueError(f"not a price: {text!r}")
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -18 or value > 10**9:
        raise ValueError(f"a price must have at most 18 decimal places: {text!r}")
    return Fraction(value)


def format_usd(value: Fraction) -> str:
    """Return the shortest decimal string of an amount with at most 18 places."""
    scaled = value * 10**18
    if scaled.denominator != 1:
        raise ValueError("more than 18 decimal places")
    whole, places = divmod(scaled.numerator, 10**18)
    return f"{whole}.{places:018d}".rstrip("0").rstrip(".")


def minute_usd(rates: Rates, size: lease.Size, *, addresses: int = 0) -> Fraction:
    """Return the exact price of a size, and of so many addresses, for a minute."""
    return addresses * rates.address_usd_minute + (
        rates.core_minute_usd * size.cores
        + rates.memory_gb_minute_usd * Fraction(size.memory_mb, MEMORY_MB_PER_GB)
        + rates.disk_gb_minute_usd * size.disk_gb
    )


def lease_price_usd(
    rates: Rates, size: lease.Size, minutes: int, *, addresses: int = 0, with_base: bool = True
) -> Fraction:
    """Return the exact price for some minutes: base + minutes x (size and addresses)."""
    minute = minute_usd(rates, size, addresses=addresses)
    return (rates.base_usd if with_base else Fraction(0)) + minutes * minute


def atomic_units(usd: Fraction, decimals: int) -> int:
    """Return the amount in atomic units of an asset worth one USD: rounded up, at least one."""
    scale: int = 10**decimals
    return max(1, math.ceil(usd * scale))


def usd_of(amount_atomic: int, decimals: int) -> str:
    """Return an amount in atomic units as a decimal string in USD."""
    return format_usd(Fraction(amount_atomic, 10**decimals))
