"""Limits for tests that are about something else."""

from typing import Final

from pve402.guests.rates import Rates

#: Settings for a service whose rates no test reaches.
WIDE_RATES: Final = dict.fromkeys(
    ("PVE402_LEASE_MBPS", "PVE402_WALLET_MBPS", "PVE402_TOTAL_MBPS"), "1000"
)


def wide_rates() -> Rates:
    """The same in this process."""
    return Rates(lease_mbps=1000, wallet_mbps=1000, total_mbps=1000)
