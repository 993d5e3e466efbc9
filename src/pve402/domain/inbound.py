"""What a tenant lets in to a guest of an isolated network, within what its operator allows."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from typing import Any

from pve402.domain import errors, networks

PING = "ping"
PROTOCOLS = ("tcp", "udp", PING)
MOST_OPENINGS = 16
MOST_PORTS = 8  # of one opening
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_MAX_PORT = 65_535


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opening:
    """Traffic that a tenant lets in."""

    protocol: str  # tcp, udp or ping
    ports: tuple[str, ...] = ()  # each a port or `first-last`; none for ping
    source: str = ""  # a network; empty: everybody

    @classmethod
    def checked(cls, protocol: str, ports: Sequence[str], source: str | None) -> "Opening":
        """Return an opening that a tenant asks for. Raises InvalidRequest."""
        if protocol not in PROTOCOLS:
            raise errors.InvalidRequest(f"protocol must be one of: {', '.join(PROTOCOLS)}")
        most = 0 if protocol == PING else MOST_PORTS
        if not min(1, most) <= len(ports) <= most:
            raise errors.InvalidRequest(
                f"tcp and udp need 1 to {MOST_PORTS} ports or ranges of ports; ping takes none"
            )
        return cls(
            protocol=protocol, ports=tuple(map(_checked_ports, ports)), source=_network(source)
        )


def check_offered(network: networks.NetworkProfile | None) -> None:
    """Raise InboundFixed if tenants have no say in what comes in."""
    closed = networks.Inbound.CLOSED
    if network is None or not network.is_isolated or network.inbound is closed:
        raise errors.InboundFixed


def is_open(network: networks.NetworkProfile, openings: Sequence[Opening] | None) -> bool:
    """Return whether everybody gets in: the tenant chose nothing, and the network is open."""
    return network.inbound is networks.Inbound.OPEN and openings is None


def let_in(
    network: networks.NetworkProfile, openings: Sequence[Opening] | None
) -> Sequence[Opening]:
    """Return the openings that hold on a network; none if it is closed to all choices."""
    return () if network.inbound is networks.Inbound.CLOSED else openings or ()


def to_list(openings: Iterable[Opening] | None) -> list[dict[str, Any]] | None:
    """Return openings as they are stored; None: the network's own choice."""
    return None if openings is None else [dataclasses.asdict(one) for one in openings]


def from_list(stored: Iterable[dict[str, Any]] | None) -> tuple[Opening, ...] | None:
    """Return openings that were stored."""
    if stored is None:
        return None
    return tuple(Opening(**{**one, "ports": tuple(one["ports"])}) for one in stored)


def _checked_ports(text: str) -> str:
    found = _PORTS.fullmatch(text) if text.isascii() else None
    if found is not None:
        first, last = int(found[1]), int(found[2] or found[1])
        if 1 <= first <= last <= _MAX_PORT:
            return f"{first}-{last}" if found[2] else str(first)
    raise errors.InvalidRequest(f"ports are 1 to {_MAX_PORT}, such as 443 or 8000-8100")


def _network(text: str | None) -> str:
    if not text:
        return ""
    try:
        return str(ip_network(text))
    except ValueError:
        raise errors.InvalidRequest(
            "source must be an address or a network such as 203.0.113.0/24"
        ) from None
