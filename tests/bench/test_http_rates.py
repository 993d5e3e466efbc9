"""How many requests a second the service answers on this machine; `make bench` shows them.

Nothing is asserted about speed, since machines differ: what is asserted is that under load every
answer is still the right one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from statistics import quantiles

import aiohttp
import pytest
from tests.support.api_fixtures import BODY
from tests.support.processes import ServeProcess

REQUESTS = 3_000
AT_ONCE = 16

Call = Callable[[aiohttp.ClientSession, str], Awaitable[int]]


async def _catalogue(session: aiohttp.ClientSession, url: str) -> int:
    async with session.get(f"{url}/catalogue") as reply:
        await reply.read()
        return reply.status


async def _quote(session: aiohttp.ClientSession, url: str) -> int:
    async with session.post(f"{url}/lease/quote", json=BODY) as reply:
        await reply.read()
        return reply.status


async def _unpaid(session: aiohttp.ClientSession, url: str) -> int:
    async with session.post(f"{url}/lease/container", json=BODY) as reply:
        await reply.read()
        return reply.status


@pytest.mark.parametrize(
    ("what", "call", "status"),
    [
        pytest.param("GET /catalogue", _catalogue, 200, id="catalogue"),
        pytest.param("POST /lease/quote", _quote, 200, id="quote"),
        pytest.param("POST /lease/container, unpaid", _unpaid, 402, id="unpaid"),
    ],
)
async def test_the_rate_of(service: ServeProcess, what: str, call: Call, status: int) -> None:
    statuses: set[int] = set()
    durations: list[float] = []

    async def repeat(session: aiohttp.ClientSession) -> None:
        for _ in range(REQUESTS // AT_ONCE):
            started = time.perf_counter()
            statuses.add(await call(session, service.url))
            durations.append(time.perf_counter() - started)

    async with aiohttp.ClientSession() as session:
        started = time.perf_counter()
        await asyncio.gather(*(repeat(session) for _ in range(AT_ONCE)))
        seconds = time.perf_counter() - started

    assert statuses == {status}
    cuts = quantiles(durations, n=100)
    print(
        f"\n{what:<32} {len(durations) / seconds:7.0f} requests/s"
        f"   p50 {cuts[49] * 1000:6.2f} ms   p99 {cuts[98] * 1000:6.2f} ms"
    )
