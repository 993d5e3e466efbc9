"""Whether a node still answers from here, over connections made for the purpose.

A firewall that was switched on keeps open connections, so only a new one says anything.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

_GREETING = b"SSH-"
_TRIES = 3


@dataclass(frozen=True, kw_only=True)
class Door:
    """A port that must stay open for us."""

    name: str  # for people
    host: str
    port: int
    greets: bool = False  # SSH says its name first


async def answering(doors: Iterable[Door], limit_seconds: float) -> list[Door]:
    """Return the doors that open within the limit, in any of three tries."""
    listed = list(doors)
    found = await asyncio.gather(*(_opens(door, limit_seconds) for door in listed))
    return [door for door, opens in zip(listed, found, strict=True) if opens]


async def own_addresses(host: str, port: int) -> tuple[str, ...]:
    """Return the addresses that this machine reaches a host from; none on the host itself.

    A router in between may put another address in their place.
    """
    return await asyncio.to_thread(_own_addresses, host, port)


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, or looks so through a tunnel."""
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ip_address(host).is_loopback
    return False


async def _opens(door: Door, limit_seconds: float) -> bool:
    for _ in range(_TRIES):
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(limit_seconds):
                return await _connect(door)
    return False


async def _connect(door: Door) -> bool:
    reader, writer = await asyncio.open_connection(door.host, door.port)
    try:
        return not door.greets or await reader.read(len(_GREETING)) == _GREETING
    finally:
        writer.close()


def _own_addresses(host: str, port: int) -> tuple[str, ...]:
    found = set()
    with contextlib.suppress(OSError):
        for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
            with contextlib.suppress(OSError), socket.socket(family, kind) as probe:
                probe.connect(address)  # sends nothing: it only chooses the way
                found.add(str(probe.getsockname()[0]))
    return tuple(sorted(one for one in found if not ip_address(one).is_loopback))
