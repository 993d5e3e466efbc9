"""What the console's websocket costs beside a connection of one's own to the same terminal.

The ways take turns in one run: straight to termproxy, and through the service, to two guests with
the same programs, because a guest's terminal has room for one client's flood. A console beside
programs is on a second terminal in the guest, so a direct connection has its turns on such a one
too. The relay passes bytes on in a process of its own and does nothing else: what one more process
costs here. The chain has its modelled stalls switched off, so that what is measured is ours.
"""

import asyncio
import functools
import json
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from statistics import median, quantiles
from typing import TypeVar

import aiohttp
import pytest
from tests.bench import relay
from tests.support import console_rig, guest_consoles
from tests.support.console_rig import Rig

from pve402.proxmox import termproxy

OUTPUT_BYTES = 20 * 1024 * 1024
KEYS = 400
ROUNDS = 7

#: What the service starts for a console beside programs, and how one leaves it.
SECOND_TERMINAL, LEAVE = b" script -qfc 'sh -il' /dev/null\r", b" exit\r"

Send = Callable[[bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[bytes]]
Way = tuple[Send, Receive]
Result = TypeVar("Result")
Measure = Callable[[Way], Awaitable[Result]]


@dataclass(frozen=True, kw_only=True)
class Flood:
    """How a program's output came: its rate, and the processor time for each megabyte."""

    megabytes_a_second: float
    service_us: float
    client_us: float


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
    start = SECOND_TERMINAL if kind == "shared" else b""
    measure = functools.partial(_flood, rig)
    with relay.before(rig.chain_url) as relayed:
        ways = {
            "direct": lambda: _with_direct(rig.chain_url, twin, measure),
            "same terminal": lambda: _with_direct(rig.chain_url, twin, measure, start),
            "relay": lambda: _with_direct(relayed, twin, measure, start),
            "through us": lambda: _with_console(rig, vmid, measure),
        }
        if not start:
            del ways["same terminal"]
        floods = await _in_turns(ways)
    print()
    for name, came in floods.items():
        share = median(
            100 * one.megabytes_a_second / other.megabytes_a_second
            for one, other in zip(came, floods["direct"], strict=True)
        )
        print(f"output, {kind:<8} {name:<14} ", end="")
        print(
            f"{median(one.megabytes_a_second for one in came):6.1f} MB/s {share:4.0f} %   ", end=""
        )
        print(f"for each MB: service {median(one.service_us for one in came):6,.0f} us, ", end="")
        print(f"client {median(one.client_us for one in came):6,.0f} us")
    assert all(len(came) == ROUNDS for came in floods.values())


@pytest.mark.parametrize(("vmid", "twin", "kind"), GUESTS)
async def test_the_echo_of_a_key_beside_a_direct_connection(
    rig: Rig, vmid: int, twin: int, kind: str
) -> None:
    direct = await _with_direct(rig.chain_url, twin, _echo_milliseconds)
    through = await _with_console(rig, vmid, _echo_milliseconds)

    print()
    for name, taken in (("direct", direct), ("through us", through)):
        cuts = quantiles(taken, n=100)
        print(f"echo of a key, {kind:<8} {name:<12} ", end="")
        print(f"p50 {cuts[49]:6.2f} ms   p95 {cuts[94]:6.2f} ms")
    assert len(through) == KEYS


async def _in_turns(ways: dict[str, Callable[[], Awaitable[Flood]]]) -> dict[str, list[Flood]]:
    """Let each way have its turn in each round, a different one first each time."""
    floods: dict[str, list[Flood]] = {name: [] for name in ways}
    for number in range(ROUNDS):
        first = number % len(ways)
        for name in [*ways][first:] + [*ways][:first]:
            floods[name].append(await ways[name]())
    return floods


async def _with_direct(url: str, vmid: int, measure: Measure[Result], start: bytes = b"") -> Result:
    async with guest_consoles.consoles(url) as chain:
        socket = await chain.attach(vmid)

        async def send(data: bytes) -> None:
            await socket.send(termproxy.input_packet(data))

        async def receive() -> bytes:
            data = await socket.receive()
            assert data is not None
            return data

        try:
            if start:
                await send(start)
                await asyncio.sleep(0.5)
            result = await measure((send, receive))
            if start:
                await send(LEAVE)
                await asyncio.sleep(0.3)
            return result
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


async def _flood(rig: Rig, way: Way) -> Flood:
    """How a program's output comes, between its first bytes and its last."""
    send, receive = way
    mark = secrets.token_hex(4)
    first, last = f"first-{mark}".encode(), f"last-{mark}".encode()
    await send(b" stty -echo -onlcr\r")
    await asyncio.sleep(0.3)
    work = f"head -c {OUTPUT_BYTES} /dev/zero | tr '\\0' x"
    await send(f" echo fir''st-{mark}; {work}; echo la''st-{mark}\r".encode())
    tail, count, started = b"", 0, (0.0, 0.0, 0.0)
    while last not in tail:
        data = await receive()
        tail = tail[-32:] + data
        count += len(data) if started[0] else 0
        if not started[0] and first in tail:
            started = _clocks(rig)
    seconds, service, client = (now - then for now, then in zip(_clocks(rig), started, strict=True))
    await send(b" stty sane\r")
    assert count > OUTPUT_BYTES * 0.9
    return Flood(
        megabytes_a_second=count / seconds / 1e6,
        service_us=service * 1e12 / count,
        client_us=client * 1e12 / count,
    )


def _clocks(rig: Rig) -> tuple[float, float, float]:
    """The time, the service's processor time, and our own, all in seconds."""
    return time.perf_counter(), rig.cpu_seconds(), time.process_time()


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
