"""What a lease, a wallet and all of them may move, whichever ways they take."""

import asyncio

import pytest
from tests.support import fake_leases
from tests.support.simulated_time import simulated_time  # noqa: F401 -- a fixture

from pve402.domain.lease import Lease
from pve402.guests.rates import Rates

pytestmark = pytest.mark.usefixtures("simulated_time")
MEGABYTE = 1_000_000
BURST_SECONDS = 1


async def moved(rates: Rates, row: Lease, times: int) -> float:
    """Move a megabyte so many times, asking anew each time; the seconds it took."""
    began_at = asyncio.get_running_loop().time()
    for _ in range(times):
        await rates.of(row)(MEGABYTE)
    return asyncio.get_running_loop().time() - began_at


async def test_all_ways_of_a_lease_share_its_rate() -> None:
    rates = Rates(lease_mbps=2, wallet_mbps=100, total_mbps=100)
    row, other = fake_leases.make_lease("w1"), fake_leases.make_lease("w1")

    first, second, alone = await asyncio.gather(
        moved(rates, row, 10), moved(rates, row, 10), moved(rates, other, 10)
    )

    assert max(first, second) == pytest.approx(20 / 2 - BURST_SECONDS, abs=0.1)
    assert alone == pytest.approx(10 / 2 - BURST_SECONDS, abs=0.1)


@pytest.mark.parametrize(
    ("wallet_mbps", "total_mbps", "seconds"), [(4, 100, (10, 2)), (100, 5, (10, 6))]
)
async def test_a_wallet_and_all_have_rates_of_their_own(
    wallet_mbps: float, total_mbps: float, seconds: tuple[float, float]
) -> None:
    """Two leases of one wallet move 20 MB each, and one of another wallet 10."""
    rates = Rates(lease_mbps=5, wallet_mbps=wallet_mbps, total_mbps=total_mbps)
    rows = [fake_leases.make_lease(owner) for owner in ("w1", "w1", "w2")]

    one, two, other = await asyncio.gather(
        *(moved(rates, row, times) for row, times in zip(rows, (20, 20, 10), strict=True))
    )

    assert (max(one, two) + BURST_SECONDS, other + BURST_SECONDS) == pytest.approx(seconds, abs=1)


async def test_who_waits_for_their_own_rate_takes_no_room_from_others() -> None:
    rates = Rates(lease_mbps=1, wallet_mbps=10, total_mbps=10)
    slow = [fake_leases.make_lease("w1") for _ in range(3)]
    busy = [asyncio.create_task(moved(rates, row, 1000)) for row in slow for _ in range(8)]
    await asyncio.sleep(20)

    assert await moved(rates, fake_leases.make_lease("w2"), 1) < 1
    for each in busy:
        each.cancel()
    await asyncio.gather(*busy, return_exceptions=True)


async def test_idle_leases_are_forgotten_and_busy_ones_are_not() -> None:
    rates = Rates(lease_mbps=1, wallet_mbps=1, total_mbps=1e9)
    row = fake_leases.make_lease("busy")
    busy = asyncio.create_task(moved(rates, row, 100))
    await asyncio.sleep(0)
    for number in range(3000):
        await rates.of(fake_leases.make_lease(f"w{number}"))(0)

    assert await moved(rates, row, 1) > 0.5
    busy.cancel()
    await asyncio.gather(busy, return_exceptions=True)
