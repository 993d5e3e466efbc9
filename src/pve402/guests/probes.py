"""Sends packets from inside a guest and tells whether they arrived, with the tools it has.

A TCP probe has arrived if the other end accepts or refuses: both are answers. A probe from a forged
source is sent with that address on the card, so its answer comes back as any other would. So is one
from a forged hardware address. An ARP probe asks for a neighbour and names the forged source.
"""

import asyncio
import dataclasses
import enum
import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final, Literal, Protocol

from pve402.domain import lease
from pve402.guests import guest_work
from pve402.hub import guest_scripts, hub

PATIENCE_SECONDS: Final = 3
"""How long a probe waits for an answer."""
_LIMIT_SECONDS = 60.0
_LONGEST_REASON = 80
_OWN_V4 = re.compile(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL")
_OWN_V6 = re.compile(r"^([0-9a-f]{32}) \w+ \w+ 00 ", re.MULTILINE)  # of global scope
_LINE = re.compile(r"(\d{1,3}) (arrived|silent|unsent ?)(.*)")


class Fate(enum.Enum):
    """What became of a probe."""

    ARRIVED = "arrived"  # the other end answered
    SILENT = "silent"  # it was sent, and nobody answered
    UNSENT = "unsent"  # the guest could not send it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Probe:
    """One packet and the answer to it. `router` is the way to the host if it is no neighbour."""

    kind: Literal["tcp", "ping", "arp"]
    host: str
    port: int = 0
    router: str | None = None
    source: str | None = None  # an address that is not the guest's own
    card: str | None = None  # a hardware address that is not its own

    def __str__(self) -> str:
        where = f"{self.kind} {self.host}" + (f" port {self.port}" if self.kind == "tcp" else "")
        forged = self.source or self.card
        return f"{where} as {forged}" if forged else where

    @property
    def sender(self) -> str:
        """Whom it pretends to be from, in the words of the guest's script."""
        return f"card={self.card}" if self.card else self.source or "-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of a probe, and the reason if it was not sent."""

    fate: Fate
    reason: str = ""


class Sending(Protocol):
    """Acts inside trial guests."""

    async def greet(self, row: lease.Lease) -> None:
        """Run a command. Raises Pve402Error."""

    async def own_addresses(self, row: lease.Lease) -> frozenset[str]:
        """Return the guest's own addresses of global scope. Raises Pve402Error."""

    async def resolve(self, row: lease.Lease, name: str) -> tuple[str, ...]:
        """Return the addresses of a name, none if the guest cannot tell. Raises Pve402Error."""

    async def send(self, row: lease.Lease, probes: Sequence[Probe]) -> dict[Probe, Sent]:
        """Send probes, all at once but for those of another sender. Raises Pve402Error."""


class Probes:
    """Sends through the guest's terminal."""

    def __init__(self, terminal: hub.Hub, *, patience_seconds: int = PATIENCE_SECONDS) -> None:
        self._hub = terminal
        self._patience = str(patience_seconds)

    async def greet(self, row: lease.Lease) -> None:
        """Run a command, the first in a new guest."""
        await self._run(row, "own")

    async def own_addresses(self, row: lease.Lease) -> frozenset[str]:
        """Read the guest's own addresses from its kernel."""
        said = await self._run(row, "own")
        found = {one for one in _OWN_V4.findall(said) if not one.startswith("127.")}
        packed = (bytes.fromhex(one) for one in _OWN_V6.findall(said))
        return frozenset(found | {str(ip_address(one)) for one in packed})

    async def resolve(self, row: lease.Lease, name: str) -> tuple[str, ...]:
        """Ask for a name as the guest's programs do."""
        lines = (await self._run(row, "resolve", name)).split()
        return tuple(dict.fromkeys(line for line in lines if is_address(line)))

    async def send(self, row: lease.Lease, probes: Sequence[Probe]) -> dict[Probe, Sent]:
        """Send probes; what the guest does not answer for was not sent."""
        found: dict[Probe, Sent] = {}
        for sender in sorted({probe.sender for probe in probes}):
            some = [probe for probe in probes if probe.sender == sender]
            words = [_words(probe) for probe in some]
            said = await self._run(row, "send", self._patience, sender, *words)
            unsaid = Sent(fate=Fate.UNSENT, reason="the guest does not say")
            found |= dict.fromkeys(some, unsaid)
            found |= {some[n]: sent for n, sent in _read(said) if n < len(some)}
        return found

    async def _run(self, row: lease.Lease, *arguments: str) -> str:
        asked = guest_scripts.request("probe", *arguments, timeout_seconds=_LIMIT_SECONDS)
        async with asyncio.timeout(2 * _LIMIT_SECONDS):
            ended = await self._hub.exec(guest_work.ref(row), asked)
        return ended.stdout.decode("utf-8", "replace")


def _words(probe: Probe) -> str:
    port = str(probe.port) if probe.kind == "tcp" else "-"
    return f"{probe.kind} {probe.host} {port} {probe.router or '-'}"


def _read(said: str) -> list[tuple[int, Sent]]:
    found = [_LINE.fullmatch(line.strip()) for line in said.splitlines()]
    return [
        (
            int(match[1]),
            Sent(fate=Fate(match[2].strip()), reason=match[3].strip()[:_LONGEST_REASON]),
        )
        for match in found
        if match is not None
    ]


def is_address(text: str) -> bool:
    """Whether a text is an IP address, of either version."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
