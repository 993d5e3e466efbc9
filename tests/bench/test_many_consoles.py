"""Two hundred consoles at once, on twenty containers: each is opened, typed into, and answered."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles

import aiohttp
import pytest
from tests.support import console_links
from tests.support.console_links import LeaseHolder
from tests.support.processes import ServeProcess

LEASES, WINDOWS = 20, 10


@pytest.mark.timeout(240)
async def test_two_hundred_consoles_at_once(serve: Callable[..., ServeProcess]) -> None:
    service = serve(PVE402_CORES_OVERCOMMIT="100")
    holders = [await asyncio.to_thread(console_links.lease_holder, service) for _ in range(LEASES)]
    before = resident_mb(service)
    everybody_is_in = asyncio.Barrier(LEASES * WINDOWS)
    started = time.perf_counter()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        consoles = [
            _use(session, holder, n, everybody_is_in) for holder in holders for n in range(WINDOWS)
        ]
        found = await asyncio.gather(*consoles)
    seconds = time.perf_counter() - started

    opening, answers = zip(*found, strict=True)
    grown = resident_mb(service) - before
    print(f"\n{len(found)} consoles on {LEASES} containers: {seconds:.1f} s in all, ", end="")
    print(f"{grown:.0f} MB ({1024 * grown / len(found):.0f} KB each)")
    print(f"opening p50 {quantiles(opening, n=100)[49] * 1000:.0f} ms", end="   ")
    print(
        f"an answer while all are open p50 {quantiles(answers, n=100)[49] * 1000:.0f} ms", end="   "
    )
    print(f"p99 {quantiles(answers, n=100)[98] * 1000:.0f} ms")
    assert len(found) == LEASES * WINDOWS


async def _use(
    session: aiohttp.ClientSession, holder: LeaseHolder, number: int, all_in: asyncio.Barrier
) -> tuple[float, float]:
    """Open a console, wait for the others, type, and read the answer; the seconds of both."""
    url = f"{holder.service.url}/management/console/{holder.lease['ctid']}"
    body = {"consoleType": "terminal"}
    started = time.perf_counter()
    async with session.post(url, json=body, headers=holder.headers) as answer:
        assert answer.status == 200, await answer.text()
        link = await answer.json()
    async with session.ws_connect(link["websocketUrl"], max_msg_size=0) as socket:
        await socket.send_str(json.dumps({"ticket": link["ticket"], "columns": 80, "rows": 24}))
        first = await socket.receive()
        assert "ready" in json.loads(first.data), first
        opened = time.perf_counter() - started
        await all_in.wait()
        started = time.perf_counter()
        mark = f"this-is-{number}."
        await socket.send_bytes(f" echo this-i''s-{number}.\r".encode())
        seen = b""
        while mark.encode() not in seen:
            message = await socket.receive()
            assert message.type is aiohttp.WSMsgType.BINARY, message
            seen += message.data
        return opened, time.perf_counter() - started


def resident_mb(service: ServeProcess) -> float:
    """The memory that the server has."""
    status = Path(f"/proc/{service.process.popen.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024
