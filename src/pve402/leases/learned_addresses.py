"""Addresses that others give to guests: learned once, checked, and held like those of our pools.

    SDN      read from Proxmox VE's address management once the guest is made
    AUTO     computed of prefix and hardware address (EUI-64, RFC 4291, appendix A)
    DHCP     read from the guest itself, which was never anybody's and runs behind its rules

A guest that a tenant had could claim any address, so it is never asked.
"""

from collections.abc import Mapping
from ipaddress import IPv6Address, IPv6Network, ip_address

from pve402.domain import lease, networks
from pve402.leases import deals, moves, reservation, workflow
from pve402.proxmox import guests as pve_guests
from pve402.proxmox import ipam as pve_ipam
from pve402.storage import address_rows, database, transaction

_CARD = "net0"
_LINK_LOCAL_BIT = 0x02
_NO_ADDRESS = "no_address"


class LearnedAddresses:
    """Learns them and notes them on leases."""

    def __init__(
        self, db: database.Database, guests: pve_guests.Guests, ipam: pve_ipam.Ipam
    ) -> None:
        self._db = db
        self._guests = guests
        self._ipam = ipam

    async def of_stopped(
        self, row: lease.Lease, profile: networks.NetworkProfile
    ) -> Mapping[str, str]:
        """Return what can be known of a guest that never ran, by family.

        Raises GiveUp if it was given none, or one that is not of the profile.
        """
        found: dict[str, str] = {}
        for wanted in _missing(row, profile):
            if wanted.source is not networks.Source.DHCP:
                hardware_address = await self._hardware_address(row)
                found[wanted.family] = await self._given(row, profile, wanted, hardware_address)
        return found

    async def of_running(
        self, row: lease.Lease, profile: networks.NetworkProfile
    ) -> Mapping[str, str]:
        """Return what a guest that is nobody's yet was given, by family; empty if nothing yet.

        Raises GiveUp if that is not of the profile.
        """
        found: dict[str, str] = {}
        for wanted in _missing(row, profile):
            own = await self._hardware_address(row)
            shown = [
                str(one.ip)
                for card in await self._guests.interfaces(_ref(row))
                if card.hardware_address.upper() == own
                for one in card.addresses
                if one.version == wanted.version and not one.ip.is_link_local
            ]
            if len(shown) > 1:
                raise workflow.GiveUp(_NO_ADDRESS, f"its card has several: {', '.join(shown)}")
            if shown:
                found[wanted.family] = _checked(shown[0], wanted)
        return found

    def noting(self, found: Mapping[str, str]) -> deals.Move:
        """Return the move that notes addresses; it raises GiveUp if another lease holds one."""

        async def note(tx: transaction.Transaction, row: lease.Lease) -> lease.Lease:
            await reservation.lock_placement(self._db, tx)
            for address in found.values():
                if await address_rows.is_held(tx, address):
                    raise workflow.GiveUp(_NO_ADDRESS, f"{address} is another lease's")
                await address_rows.take(
                    self._db,
                    tx,
                    address,
                    version=ip_address(address).version,
                    network=row.network,
                    lease_id=row.lease_id,
                )
            return await moves.note_addresses(tx, row, found)

        return note

    async def _given(
        self,
        row: lease.Lease,
        profile: networks.NetworkProfile,
        wanted: networks.Learned,
        hardware_address: str,
    ) -> str:
        if wanted.source is networks.Source.AUTO:
            return eui64(wanted.subnet, hardware_address)
        given = await self._ipam.addresses_of(profile.bridge, row.vmid, hardware_address)
        if len(given) != 1:
            why = "its range is used up" if not given else f"it gave several: {', '.join(given)}"
            raise workflow.GiveUp(_NO_ADDRESS, f"the SDN gave no address: {why}")
        return _checked(given[0], wanted)

    async def _hardware_address(self, row: lease.Lease) -> str:
        config = await self._guests.config(_ref(row))
        parts = (part.partition("=") for part in config.values.get(_CARD, "").split(","))
        return next((value.upper() for name, _, value in parts if name == "hwaddr"), "")


def awaits_guest(row: lease.Lease, profile: networks.NetworkProfile) -> bool:
    """Return whether an address is still to be read from the guest."""
    return any(one.source is networks.Source.DHCP for one in _missing(row, profile))


def eui64(subnet: networks.Subnet, hardware_address: str) -> str:
    """Return the address that a card with this hardware address makes itself in a /64."""
    octets = bytes.fromhex(hardware_address.replace(":", ""))
    if len(octets) != 6 or not isinstance(subnet, IPv6Network):
        raise workflow.GiveUp(_NO_ADDRESS, f"the card has no hardware address in {subnet}")
    first = octets[0] ^ _LINK_LOCAL_BIT
    identifier = bytes([first, *octets[1:3], 0xFF, 0xFE, *octets[3:]])
    return str(IPv6Address(int(subnet.network_address) | int.from_bytes(identifier, "big")))


def _missing(row: lease.Lease, profile: networks.NetworkProfile) -> list[networks.Learned]:
    return [one for one in profile.learned if one.family not in row.addresses]


def _checked(address: str, wanted: networks.Learned) -> str:
    """Return an address that lies inside its subnet and is no other host's. Raises GiveUp."""
    found, subnet = ip_address(address), wanted.subnet
    ends = {subnet.network_address, subnet.broadcast_address} if subnet.version == 4 else set()
    if found not in subnet or found == wanted.gateway or found in ends:
        raise workflow.GiveUp(_NO_ADDRESS, f"{address} is not for a guest in {subnet}")
    return address


def _ref(row: lease.Lease) -> pve_guests.GuestRef:
    return pve_guests.GuestRef(node=row.node, vmid=row.vmid)
