"""Finds a request's client address: the peer's, or the one that a trusted proxy reports."""

import ipaddress
from collections.abc import Sequence

from starlette.types import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ClientAddresses:
    """Reads client addresses; trusts X-Forwarded-For only if our own proxies wrote it."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._trusted: tuple[Network, ...] = tuple(
            ipaddress.ip_network(proxy) for proxy in trusted_proxies
        )

    def of(self, scope: Scope) -> str | None:
        """Return the address of a request, or None if it has none (a unix socket).

        Each entry was written by the hop to its right. So, from the right, the first address that
        is not one of our proxies is the client's; the entries to its left do not count.
        """
        peer = scope["client"][0] if scope.get("client") else None
        if not self._trusted or peer is None or not self.is_trusted(peer):
            return peer
        for entry in reversed(_forwarded(scope)):
            address = _parsed(entry)
            if address is None:
                break
            peer = address
            if not self.is_trusted(address):
                break
        return peer

    def is_trusted(self, address: str) -> bool:
        """Whether an address is that of one of our proxies."""
        parsed = _parsed(address)
        return parsed is not None and any(
            ipaddress.ip_address(parsed) in network for network in self._trusted
        )


def _forwarded(scope: Scope) -> list[str]:
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return b",".join(values)[-4096:].decode("latin-1").split(",")


def _parsed(text: str) -> str | None:
    """The canonical form of an address, or None; an IPv4-mapped IPv6 address becomes IPv4."""
    try:
        address = ipaddress.ip_address(text.strip())
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
