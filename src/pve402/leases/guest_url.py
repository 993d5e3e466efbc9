"""Where the guests of isolated networks reach this service: the addresses and port of one URL.

The URL is the operator's; its name is resolved at start and every minute, for a few seconds at
most. What cannot be resolved keeps the addresses it had.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

import structlog

from pve402.domain import networks
from pve402.leases import rounds

log = structlog.get_logger(__name__)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
_INTERVAL_SECONDS = 60.0
_LIMIT_SECONDS = 5.0
_MOST_ADDRESSES = 8


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a host. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class GuestUrl:
    """The addresses of PVE402_GUEST_URL, as rules of guests name them."""

    def __init__(self, url: str | None, resolve: Resolve = resolve) -> None:
        """Take the URL that guests may reach; None: they reach none of our addresses."""
        parts = urlsplit(url or "")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._resolve = resolve
        self._rounds = rounds.Rounds("guest-url", self.look, _INTERVAL_SECONDS)
        self.allowed: tuple[networks.Allowed, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether its addresses are known; also if there is no URL."""
        return self._host is None or bool(self.allowed)

    async def start(self) -> None:
        """Resolve it, then keep doing so in the background."""
        if self._host is not None:
            await self.look()
            self._rounds.start(with_pause=True)

    async def stop(self) -> None:
        """Stop resolving."""
        await self._rounds.stop()

    async def look(self) -> None:
        """Resolve it once; never raises."""
        if self._host is None:
            return
        found: Sequence[str] = ()
        with contextlib.suppress(OSError, UnicodeError):
            async with asyncio.timeout(_LIMIT_SECONDS):
                found = await self._resolve(self._host, self._port)
        allowed = tuple(self._rule(one) for one in self._usable(found))
        if not allowed:
            log.warning("guest_url_not_resolved", host=self._host)
        elif allowed != self.allowed:
            log.info("guest_url", addresses=[str(one.subnet) for one in allowed], port=self._port)
            self.allowed = allowed

    def _usable(self, found: Sequence[str]) -> list[str]:
        """Return the addresses in an order that does not change, without zones and loopbacks."""
        plain = {ip_address(one) for one in found if "%" not in one}
        kept = [one for one in plain if not (one.is_loopback or one.is_unspecified)]
        return [str(one) for one in sorted(kept, key=lambda one: (one.version, one.packed))][
            :_MOST_ADDRESSES
        ]

    def _rule(self, address: str) -> networks.Allowed:
        return networks.Allowed(subnet=ip_network(address), protocol="tcp", ports=str(self._port))
