"""What the console's websocket costs beside a connection of one's own to the same terminal.

Both ways take turns in one run: straight to termproxy, and through the service, to two guests with
the same programs, because a guest's terminal has room for one client's flood. The chain has its
modelled stalls switched off, so that what is measured is ours.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from statistics import median, quantiles
from typing import TypeVar

import aiohttp
import pytest
from tests.support import console_rig, guest_consoles
from tests.support.console_rig import Rig

from pve402.proxmox import terminal

OUTPUT_BYTES = 20 * 1024 * 1024
KEYS = 400
ROUNDS = 5

Send = Callable[[bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[bytes]]
Way = tuple[Send, Receive]
Result = TypeVar("Result")
Measure = Callable[[Way], Awaitable[Result]]


@pytest.fixture
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with console_rig.running(tmp_path_factory.mktemp("rig"), "--polite") as made:
        yield made


GUESTS = [
    # The guest has what makes a second terminal: programs run beside the console.
    pytest.param(console_rig.BASH, guest_consoles.DASH, "shared", id="shared"),
    # It has not: the console is the terminal itself.
    pytest.param(console_rig.ASH, guest_consoles.ASH_PLAIN, "alone", id="alone"),
]


@pytest.mark.parametrize(("vmid", "twin", "kind"), GUESTS)
async def test_output_beside_a_direct_connection(rig: Rig, vmid: int, twin: int, kind: str) -> None:
    direct, through, used = [], [], []
    for _ in range(ROUNDS):
        direct.append(await _with_direct(rig, twin, _megabytes_a_second))
        before = rig.cpu_seconds()
        through.append(await _with_console(rig, vmid, _megabytes_a_second))
        used.append(rig.cpu_seconds() - before)

    share = median(100 * ours / its for ours, its in zip(through, direct, strict=True))
    print(f"\noutput, {kind:<10} direct {median(direct):6.1f} MB/s   ", end="")
    print(f"through us {median(through):6.1f} MB/s   {share:4.0f} %   ", end="")
    print(f"our processor time: {median(used) * 1e12 / OUTPUT_BYTES:,.0f} us for each MB")
    assert len(through) == ROUNDS


@pytest.mark.parametrize(("vmid", "twin", "kind"), GUESTS)
async def test_the_echo_of_a_key_beside_a_direct_connection(
    rig: Rig, vmid: int, twin: int, kind: str
) -> None:
    direct = await _with_direct(rig, twin, _echo_milliseconds)
    through = await _with_console(rig, vmid, _echo_milliseconds)

    print()
    for name, taken in (("direct", direct), ("through us", through)):
        cuts = quantiles(taken, n=100)
        print(f"echo of a key, {kind:<8} {name:<12} ", end="")
        print(f"p50 {cuts[49]:6.2f} ms   p95 {cuts[94]:6.2f} ms")
    assert len(through) == KEYS


async def _with_direct(rig: Rig, vmid: int, measure: Measure[Result]) -> Result:
    async with guest_consoles.consoles(rig.chain_url) as chain:
        socket = await chain.attach(vmid)

        async def send(data: bytes) -> None:
            await socket.send(terminal.input_packet(data))

        async def receive() -> bytes:
            data = await socket.receive()
            assert data is not None
            return data

        try:
            return await measure((send, receive))
        finally:
            await socket.close()


async def _with_console(rig: Rig, vmid: int, measure: Measure[Result]) -> Result:
    link = await asyncio.to_thread(rig.link, vmid)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(link["websocketUrl"], max_msg_size=0) as socket,
    ):
        await socket.send_str(json.dumps({"ticket": link["ticket"], "columns": 80, "rows": 24}))
        first = await socket.receive()
        assert "ready" in json.loads(first.data), first

        async def receive() -> bytes:
            message = await socket.receive()
            assert message.type is aiohttp.WSMsgType.BINARY, message
            data: bytes = message.data
            return data

        return await measure((socket.send_bytes, receive))


async def _megabytes_a_second(way: Way) -> float:
    """How fast a program's output comes, between its first bytes and its last."""
    send, receive = way
    mark = secrets.token_hex(4)
    first, last = f"first-{mark}".encode(), f"last-{mark}".encode()
    await send(b" stty -echo -onlcr\r")
    await asyncio.sleep(0.3)
    work = f"head -c {OUTPUT_BYTES} /dev/zero | tr '\\0' x"
    await send(f" echo fir''st-{mark}; {work}; echo la''st-{mark}\r".encode())
    tail, count, started = b"", 0, 0.0
    while last not in tail:
        data = await receive()
        tail = tail[-32:] + data
        count += len(data) if started else 0
        if not started and first in tail:
            started = time.perf_counter()
    seconds = time.perf_counter() - started
    await send(b" stty sane\r")
    assert count > OUTPUT_BYTES * 0.9
    return count / seconds / 1e6


async def _echo_milliseconds(way: Way) -> list[float]:
    """How long the echo of one key takes, again and again, at a program that only reads."""
    send, receive = way
    mark = secrets.token_hex(4)
    await send(f" stty sane; echo rea''dy-{mark}; cat >/dev/null\r".encode())
    seen = b""
    while f"ready-{mark}".encode() not in seen:
        seen += await receive()
    await asyncio.sleep(0.3)
    taken = []
    for number in range(KEYS):
        key = bytes([b"abcdefghij"[number % 10]])
        started = time.perf_counter()
        await send(key)
        while key not in await receive():
            pass
        taken.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(0.004)
    await send(b"\x03")
    return taken
