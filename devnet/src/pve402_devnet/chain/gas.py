"""A transaction's gas cost apart from its instructions."""

from __future__ import annotations

from collections.abc import Sequence

BASE = 21_000
CREATION = 32_000
DATA_TOKEN = 4
FLOOR_PER_TOKEN = 10
LISTED_ADDRESS = 2400
LISTED_SLOT = 1900
STIPEND = 2_300
AUTHORIZATION = 25_000
"""For an authority that does not exist yet (EIP-7702)."""
AUTHORIZATION_REFUND = 12_500
"""Refunded for an authority that exists."""

AccessList = tuple[tuple[str, tuple[int, ...]], ...]


def intrinsic(
    data: bytes, *, creates: bool, access_list: AccessList = (), authorizations: int = 0
) -> int:
    """Return the cost before the first instruction (EIP-2028, 2930, 3860, 7702)."""
    gas = BASE + DATA_TOKEN * _tokens(data)
    if creates:
        gas += CREATION + 2 * ((len(data) + 31) // 32)
    slots = sum(len(slots) for _, slots in access_list)
    gas += LISTED_ADDRESS * len(access_list) + LISTED_SLOT * slots
    return gas + AUTHORIZATION * authorizations


def floor(data: bytes) -> int:
    """Return the minimum that a transaction with this data pays (EIP-7623)."""
    return BASE + FLOOR_PER_TOKEN * _tokens(data)


def used(*, spent: int, refunds: Sequence[int], least: int) -> int:
    """Return the gas paid: at most a fifth is refunded (EIP-3529), and the floor applies."""
    return max(least, spent - min(sum(refunds), spent // 5))


def enough_for(spent: int) -> int:
    """Estimate a gas limit from the gas spent: nested calls hold back a 64th (EIP-150)."""
    return (spent + STIPEND) * 64 // 63


def _tokens(data: bytes) -> int:
    return 4 * len(data) - 3 * data.count(0)
