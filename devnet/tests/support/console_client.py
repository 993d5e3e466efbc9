"""A plain client of console ports, and recorded sessions to compare what it sees with."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp

TRANSCRIPTS = Path(__file__).resolve().parents[3] / "tests" / "data" / "recordings"
CLEAR = b"\x1b[H\x1b[J"
TRAILER = b"\x1b[999H\r\n[EOF - dtach terminating]\r\n\x1b[?25h"
_LIMIT_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One line of a transcript; `opcode` None is something done beside the socket."""

    sent_by_client: bool
    opcode: int | None
    payload: bytes
    event: str


def transcript(name: str) -> tuple[Frame, ...]:
    """Read `terminal-<name>.jsonl`."""
    lines = (TRANSCRIPTS / f"terminal-{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple(_frame(json.loads(line)) for line in lines)


def packet(data: bytes) -> bytes:
    """Frame input for termproxy."""
    return b"0:%d:%b" % (len(data), data)


@dataclass(kw_only=True)
class Console:
    """An open websocket; `seen` is all that arrived, `closed` whether the server has left."""

    socket: aiohttp.ClientWebSocketResponse
    answer: dict[str, str]
    seen: bytearray = field(default_factory=bytearray)
    pongs: list[bytes] = field(default_factory=list)
    closed: bool = False

    async def authenticate(self) -> None:
        """Send the first line."""
        await self.send(f"{self.answer['user']}:{self.answer['ticket']}\n".encode())

    async def send(self, data: bytes) -> None:
        """Send one binary message as it is."""
        await self.socket.send_bytes(data)

    async def type(self, data: bytes) -> None:
        """Send input as one packet."""
        await self.send(packet(data))

    async def read_until(self, wanted: bytes, limit_seconds: float = _LIMIT_SECONDS) -> bytes:
        """Take output up to and with `wanted`; AssertionError shows what came instead."""
        try:
            async with asyncio.timeout(limit_seconds):
                while wanted not in self.seen and not self.closed:
                    await self._read_one()
        except TimeoutError:
            pass
        assert wanted in self.seen, bytes(self.seen[-2000:])
        return self._take(self.seen.index(wanted) + len(wanted))

    async def read_bytes(self, count: int, limit_seconds: float = 5.0) -> bytes:
        """Take exactly `count` bytes, or fewer where no more come."""
        try:
            async with asyncio.timeout(limit_seconds):
                while len(self.seen) < count and not self.closed:
                    await self._read_one()
        except TimeoutError:
            pass
        return self._take(count)

    async def read_quiet(self, quiet_seconds: float = 0.15) -> bytes:
        """Take output until none came for a while."""
        while not self.closed:
            try:
                async with asyncio.timeout(quiet_seconds):
                    await self._read_one()
            except TimeoutError:
                break
        return self._take(len(self.seen))

    async def wait_closed(self, limit_seconds: float = _LIMIT_SECONDS) -> bytes:
        """Wait until the server has dropped the connection; take what came before."""
        async with asyncio.timeout(limit_seconds):
            while not self.closed:
                await self._read_one()
        return self._take(len(self.seen))

    async def close(self) -> None:
        """Leave with a closing handshake."""
        await self.socket.close()

    async def _read_one(self) -> None:
        message = await self.socket.receive()
        if message.type is aiohttp.WSMsgType.BINARY:
            self.seen += message.data
        elif message.type is aiohttp.WSMsgType.PONG:
            self.pongs.append(bytes(message.data))
        else:
            self.closed = True

    def _take(self, count: int) -> bytes:
        taken = bytes(self.seen[:count])
        del self.seen[:count]
        return taken


class ConsoleClient:
    """Opens consoles at one base URL, with one token."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self.session = aiohttp.ClientSession(headers=headers)
        self._consoles: list[Console] = []
        self.lxc = f"{url}/api2/json/nodes/pve/lxc"

    async def __aenter__(self) -> "ConsoleClient":
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for console in self._consoles:
            await console.close()
        await self.session.close()

    async def post(self, vmid: int, call: str, **params: Any) -> Any:
        """Make one call on a guest and return its data."""
        async with self.session.post(f"{self.lxc}/{vmid}/{call}", data=params) as answer:
            assert answer.status == 200, (answer.status, answer.reason)
            return (await answer.json())["data"]

    async def connect(self, vmid: int, call: str = "termproxy", **params: Any) -> Console:
        """Open a console port and connect to it, without a word on the socket."""
        answer = await self.post(vmid, call, **params)
        socket = await self.session.ws_connect(
            f"{self.lxc}/{vmid}/vncwebsocket",
            params={"port": answer["port"], "vncticket": answer["ticket"]},
            protocols=("binary",),
            max_msg_size=0,
            autoping=False,
            autoclose=False,
        )
        console = Console(socket=socket, answer=answer)
        self._consoles.append(console)
        return console

    async def open(self, vmid: int) -> Console:
        """Open a text console, authenticate, and wait until it is quiet."""
        console = await self.connect(vmid)
        await console.authenticate()
        await console.read_until(CLEAR)
        await console.read_quiet()
        return console


def _frame(line: dict[str, Any]) -> Frame:
    return Frame(
        sent_by_client=line["dir"] == "c2s",
        opcode=line["opcode"],
        payload=bytes.fromhex(line.get("hex") or ""),
        event=line.get("event", ""),
    )
