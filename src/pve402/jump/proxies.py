"""Learns from a TCP balancer of ours whose connection it passes on: PROXY protocol, version 1 or 2.

https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt. Only named proxies are believed, and
they must always say it: else everybody could choose an address, or be taken for the proxy.
"""

import asyncio
import contextlib
import ipaddress
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import structlog

log = structlog.get_logger(__name__)

MOST_WAITING: Final = 128
"""Connections of one named proxy or network that may wait for their header."""
_SECONDS: Final = 5.0
_TOLD_EVERY_SECONDS: Final = 60.0
_MAGIC: Final = b"\r\n\r\n\0\r\nQUIT\n"
_MOST_LINE_BYTES: Final = 107
_MOST_V2_BYTES: Final = 2048
_PROXIED: Final = 0x21
_LOCAL: Final = 0x20
_ADDRESS_BYTES: Final = {0x11: 4, 0x21: 16}

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class NotProxied(OSError):
    """A proxy did not say, in time and in words of the protocol, whom it speaks for."""


class Proxies:
    """The proxies that are believed, as addresses or networks."""

    def __init__(self, named: Sequence[str] = (), *, most_waiting: int = MOST_WAITING) -> None:
        self._networks = tuple(ipaddress.ip_network(each) for each in named)
        self._most_waiting = most_waiting
        self._waiting: Counter[_Network] = Counter()
        self._told_at = -_TOLD_EVERY_SECONDS

    async def client_of(self, connection: socket.socket, peer: str) -> str:
        """The client's address: the peer's own, or what a named proxy says before all else.

        A proxy that connects for itself, as to see whether we live, is the client. Raises OSError,
        and closes the connection if there is no answer.
        """
        proxy = self._named(peer)
        if proxy is None:
            return peer
        try:
            with self._place(proxy):
                async with asyncio.timeout(_SECONDS):
                    return await _told(connection) or peer
        except (TimeoutError, ValueError) as error:
            connection.close()
            self._tell(peer)
            raise NotProxied from error
        except BaseException:
            connection.close()
            raise

    def _named(self, peer: str) -> "_Network | None":
        """The entry that names the peer, if one does."""
        if not self._networks:
            return None
        address = ipaddress.ip_address(peer.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return next((network for network in self._networks if address in network), None)

    def _tell(self, peer: str) -> None:
        """Tell the operator now and then: nobody gets in through a proxy without headers."""
        now = time.monotonic()
        if now - self._told_at >= _TOLD_EVERY_SECONDS:
            self._told_at = now
            log.warning("jump_no_proxy_header", proxy=peer)

    @contextlib.contextmanager
    def _place(self, proxy: "_Network") -> Iterator[None]:
        """Count a connection that nobody has admitted yet. Raises NotProxied for one too many."""
        if self._waiting[proxy] >= self._most_waiting:
            raise NotProxied
        self._waiting[proxy] += 1
        try:
            yield
        finally:
            self._waiting[proxy] -= 1


async def _told(connection: socket.socket) -> str:
    """Read exactly the header, so that the client's first byte comes next; empty for none."""
    start = await _exactly(connection, len(_MAGIC))
    return await _binary(connection) if start == _MAGIC else await _line(connection, start)


async def _line(connection: socket.socket, start: bytes) -> str:
    """Read version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 22`."""
    line = start
    while not line.endswith(b"\r\n"):
        if not line.startswith(b"PROXY ") or len(line) >= _MOST_LINE_BYTES:
            raise ValueError("no PROXY line")
        line += await _exactly(connection, 1)
    words = line.decode("ascii").split()
    if words[1:2] == ["UNKNOWN"]:
        return ""
    if len(words) != 6 or words[1] not in {"TCP4", "TCP6"}:
        raise ValueError("no PROXY line")
    return str(ipaddress.ip_address(words[2]))


async def _binary(connection: socket.socket) -> str:
    """Read version 2 after its magic."""
    command, family, high, low = await _exactly(connection, 4)
    size = high << 8 | low
    if command not in {_LOCAL, _PROXIED} or size > _MOST_V2_BYTES:
        raise ValueError("no PROXY header")
    body = await _exactly(connection, size)
    width = _ADDRESS_BYTES.get(family)
    if command == _LOCAL or width is None:
        return ""
    if size < 2 * width + 4:
        raise ValueError("no PROXY header")
    return str(ipaddress.ip_address(body[:width]))


async def _exactly(connection: socket.socket, size: int) -> bytes:
    loop, data = asyncio.get_running_loop(), b""
    while len(data) < size:
        more = await loop.sock_recv(connection, size - len(data))
        if not more:
            raise NotProxied
        data += more
    return data
