"""The addresses that guests have by their own account, where no pool of ours assigned them.

Proxmox VE reads them from the running guest, whose root can set any address. So they are told to
the tenant and decide nothing: not what is isolated, not where anything is sent.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final

from pve402.domain import lease, networks
from pve402.leases import guest_specs, on_sale
from pve402.proxmox import errors as pve
from pve402.proxmox import guest_views
from pve402.proxmox import guests as pve_guests

_CARD: Final = "eth0"
_MOST_ADDRESSES: Final = 8
_MOST_REMEMBERED: Final = 10_000
_FRESH_SECONDS: Final = 10.0
_INCOMPLETE_SECONDS: Final = 0.5
_LIMIT_SECONDS: Final = 3.0
#: Methods by which a guest gets an address without doing anything.
_COMING: Final = frozenset({networks.Method.DHCP, networks.Method.AUTO})

Found = Sequence[tuple[str, str]]
"""Family and address."""


class SeenAddresses:
    """Asks Proxmox VE, and remembers the answers for some seconds."""

    def __init__(
        self,
        guests: pve_guests.Guests,
        selling: on_sale.OnSale,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._guests = guests
        self._on_sale = selling
        self._clock = clock
        self._known: dict[str, tuple[float, Found]] = {}

    def known(self, row: lease.Lease) -> Found:
        """Return what was seen last, without asking."""
        return self._known.get(row.lease_id, (0.0, ()))[1]

    def is_due(self, row: lease.Lease) -> bool:
        """Return whether a lease's guest has addresses of its own, and it is time to ask."""
        if not self._methods(row):
            return False
        asked_at, found = self._known.get(row.lease_id, (None, ()))
        rest = _INCOMPLETE_SECONDS if self._missing(row, found) else _FRESH_SECONDS
        return asked_at is None or self._clock() - asked_at >= rest

    def are_coming(self, row: lease.Lease) -> bool:
        """Return whether an address that the guest should get by itself was not seen yet."""
        return bool(self._missing(row, self.known(row)))

    async def ask(self, row: lease.Lease) -> None:
        """Ask for the addresses of a running guest; keep what was seen if that fails."""
        ref = pve_guests.GuestRef(node=row.node, vmid=row.vmid)
        found = self.known(row)
        try:
            async with asyncio.timeout(_LIMIT_SECONDS):
                found = _addresses(await self._guests.interfaces(ref), row)
        except (pve.ProxmoxError, TimeoutError):
            pass
        self._known.pop(row.lease_id, None)
        while len(self._known) >= _MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[row.lease_id] = (self._clock(), found)

    def _missing(self, row: lease.Lease, found: Found) -> set[str]:
        coming = {family for family, how in self._methods(row).items() if how in _COMING}
        return coming - {family for family, _ in found}

    def _methods(self, row: lease.Lease) -> dict[str, networks.Method]:
        """How a guest gets its addresses by itself, by family."""
        profile = self._on_sale.network_of(row)
        if profile is None:
            return {}
        ways = zip(guest_specs.FAMILIES.values(), (profile.ipv4, profile.ipv6), strict=True)
        return {
            family: way
            for family, way in ways
            if isinstance(way, networks.Method) and way is not networks.Method.NONE
        }


def _addresses(cards: Sequence[guest_views.Interface], row: lease.Lease) -> Found:
    """Return the addresses of the guest's card that others could use."""
    shown = [one.ip for card in cards if card.name == _CARD for one in card.addresses]
    found = [
        (guest_specs.FAMILIES[one.version], str(one))
        for one in shown
        if not (one.is_loopback or one.is_link_local or one.is_unspecified or one.is_multicast)
    ]
    own = [one for one in dict.fromkeys(found) if one[1] not in row.addresses.values()]
    return tuple(own[:_MOST_ADDRESSES])
