"""What a transaction costs before and beside its instructions, in gas."""

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
"""For an authority that is not there yet (EIP-7702)."""
AUTHORIZATION_REFUND = 12_500
"""Given back for an authority that is."""

AccessList = tuple[tuple[str, tuple[int, ...]], ...]


def intrinsic(
    data: bytes, *, creates: bool, access_list: AccessList = (), authorizations: int = 0
) -> int:
    """What is taken before the first instruction (EIP-2028, 2930, 3860, 7702)."""
    gas = BASE + DATA_TOKEN * _tokens(data)
    if creates:
        gas += CREATION + 2 * ((len(data) + 31) // 32)
    slots = sum(len(slots) for _, slots in access_list)
    gas += LISTED_ADDRESS * len(access_list) + LISTED_SLOT * slots
    return gas + AUTHORIZATION * authorizations


def floor(data: bytes) -> int:
    """The least that a transaction with this data pays, whatever it does (EIP-7623)."""
    return BASE + FLOOR_PER_TOKEN * _tokens(data)


def used(*, spent: int, refunds: Sequence[int], least: int) -> int:
    """What is paid: a fifth can be refunded (EIP-3529), and the floor holds."""
    return max(least, spent - min(sum(refunds), spent // 5))


def enough_for(spent: int) -> int:
    """A likely limit for what spent so much: calls within hold back a 64th (EIP-150)."""
    return (spent + STIPEND) * 64 // 63


def _tokens(data: bytes) -> int:
    return 4 * len(data) - 3 * data.count(0)
