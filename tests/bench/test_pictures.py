"""What the bridge to a VNC server costs beside a connection of one's own to the same server.

The ways take turns in one run, to two guests alike, and ask for whole pictures of 80 by 24
characters, raw, some 980 KB each; then for the change that one key makes. A relay that only passes
bytes on has its turns too: what one more process costs here. The server draws without its modelled
pause.
"""

import asyncio
import json
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from statistics import median, quantiles

import aiohttp
import pytest
from tests.bench import relay
from tests.support import console_rig, guest_consoles
from tests.support.console_rig import Rig

from pve402.hub import vnc
from pve402.proxmox.client import ProxmoxClient, ProxmoxOptions
from pve402.proxmox.guests import Guests

PICTURES = 60
KEYS = 200
ROUNDS = 9
_LIMIT_SECONDS = 60.0

Send = Callable[[bytes], Awaitable[None]]
Receive = Callable[[], Awaitable[bytes | None]]


@pytest.fixture
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with console_rig.running(tmp_path_factory.mktemp("rig"), "--polite") as made:
        yield made


class Viewer:
    """A VNC client behind the choice of security (RFC 6143, 7.3)."""

    def __init__(self, send: Send, receive: Receive) -> None:
        self.send = send
        self._receive = receive
        self._buffer = bytearray()
        self.width = self.height = 0

    async def start(self) -> None:
        """Agree on the rest."""
        await self.send(b"\x01")
        self.width, self.height = struct.unpack(">HH16x", await self.take(20))
        await self.take(struct.unpack(">I", await self.take(4))[0])

    async def picture(self, *, incremental: bool) -> int:
        """Ask for the picture, or for what has changed; the bytes that came."""
        ask = struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height)
        await self.send(ask)
        _, count = struct.unpack(">BxH", await self.take(4))
        size = 4
        for _ in range(count):
            width, height = struct.unpack(">4xHH4x", await self.take(12))
            await self.take(width * height * 4)
            size += 12 + width * height * 4
        return size

    async def press(self, key: bytes) -> None:
        """Press a key and let it go."""
        await self.send(b"".join(struct.pack(">BB2xI", 4, down, key[0]) for down in (1, 0)))

    async def take(self, count: int) -> bytes:
        """The next bytes."""
        while len(self._buffer) < count:
            data = await self._receive()
            assert data is not None, "the picture was closed"
            self._buffer += data
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


async def test_pictures_beside_a_direct_connection(rig: Rig) -> None:
    with relay.before(rig.chain_url) as relayed:
        ways = {
            "direct": lambda: _direct(rig.chain_url, guest_consoles.DASH),
            "relay": lambda: _direct(relayed, guest_consoles.DASH),
            "through us": lambda: _through_us(rig, console_rig.BASH),
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        used: list[float] = []
        for number in range(ROUNDS):
            for name in [*ways][number % 3 :] + [*ways][: number % 3]:
                async with ways[name]() as viewer:
                    before = rig.cpu_seconds()
                    rates[name].append(await _megabytes_a_second(viewer))
                    used += [rig.cpu_seconds() - before] if name == "through us" else []
    print()
    for name, came in rates.items():
        share = median(100 * one / its for one, its in zip(came, rates["direct"], strict=True))
        print(f"pictures   {name:<12} {median(came):6.1f} MB/s   {share:4.0f} %")
    megabytes = PICTURES * 80 * 8 * 24 * 16 * 4 / 1e6
    print(f"our processor time: {median(used) * 1e6 / megabytes:,.0f} us for each MB")
    assert len(used) == ROUNDS


async def test_the_change_a_key_makes_beside_a_direct_connection(rig: Rig) -> None:
    async with _direct(rig.chain_url, guest_consoles.DASH) as viewer:
        direct = await _key_milliseconds(viewer)
    async with _through_us(rig, console_rig.BASH) as viewer:
        through = await _key_milliseconds(viewer)

    print()
    for name, taken in (("direct", direct), ("through us", through)):
        cuts = quantiles(taken, n=100)
        print(f"a key's change in the picture {name:<12} ", end="")
        print(f"p50 {cuts[49]:6.2f} ms   p95 {cuts[94]:6.2f} ms")
    assert len(through) == KEYS


@asynccontextmanager
async def _direct(url: str, vmid: int) -> AsyncIterator[Viewer]:
    options = ProxmoxOptions(host=url, token_id="svc@pve!test", token_secret="secret")
    async with ProxmoxClient(options) as client:
        stream = await vnc.VncConnector(Guests(client))(guest_consoles.guest(vmid))
        viewer = Viewer(stream.send, stream.receive)
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                await viewer.start()
                yield viewer
        finally:
            await stream.close()


@asynccontextmanager
async def _through_us(rig: Rig, vmid: int) -> AsyncIterator[Viewer]:
    link = await asyncio.to_thread(rig.link, vmid, "vnc")
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(link["websocketUrl"], max_msg_size=0) as socket,
        asyncio.timeout(_LIMIT_SECONDS),
    ):
        await socket.send_str(json.dumps({"ticket": link["ticket"]}))
        first = await socket.receive()
        assert "ready" in json.loads(first.data), first
        viewer = Viewer(socket.send_bytes, socket.receive_bytes)
        await viewer.take(12)
        await socket.send_bytes(b"RFB 003.008\n")
        assert await viewer.take(2) == b"\x01\x01"
        await socket.send_bytes(b"\x01")
        assert await viewer.take(4) == bytes(4)
        await viewer.start()
        yield viewer


async def _megabytes_a_second(viewer: Viewer) -> float:
    await viewer.picture(incremental=False)
    started = time.perf_counter()
    size = 0
    for _ in range(PICTURES):
        size += await viewer.picture(incremental=False)
    return size / (time.perf_counter() - started) / 1e6


async def _key_milliseconds(viewer: Viewer) -> list[float]:
    """How long it takes until what one key changed has come, again and again."""
    await viewer.picture(incremental=False)
    await asyncio.sleep(0.3)
    taken = []
    for number in range(KEYS):
        started = time.perf_counter()
        await viewer.press(b"abcdefghij"[number % 10 : number % 10 + 1])
        await viewer.picture(incremental=True)
        taken.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(0.004)
    await viewer.press(b"\x03")
    return taken
