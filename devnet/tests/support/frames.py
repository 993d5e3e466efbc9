"""Ethernet frames in hexadecimal, true and forged."""

import ipaddress
import struct

_MARKED = b"the marker of the test"
MARKER = _MARKED.hex()
EVERYBODY = "ff:ff:ff:ff:ff:ff"
_UDP = 17
_ICMPV6 = 58
_ROUTER_ADVERTISEMENT = 134
_NEIGHBOUR_SOLICITATION = 135
_NEIGHBOUR_ADVERTISEMENT = 136
_OVERRIDE = 0x20000000  # replace what you know (RFC 4861)
ALL_NODES = "ff02::1"
ALL_NODES_MAC = "33:33:00:00:00:01"
_SOLICITED = ipaddress.ip_address("ff02::1:ff00:0").packed


def ethernet(target: str, source: str, kind: int, body: bytes) -> str:
    """A frame."""
    head = bytes.fromhex((target + source).replace(":", "")) + struct.pack("!H", kind)
    return (head + body).hex()


def datagram(
    macs: tuple[str, str],
    addresses: tuple[str, str],
    *,
    ports: tuple[int, int] = (4000, 4001),
    body: bytes = b"data",
) -> str:
    """UDP in IPv4; pairs are source and target."""
    udp = struct.pack("!HHHH", *ports, 8 + len(body), 0) + body
    packed = b"".join(ipaddress.ip_address(one).packed for one in addresses)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, _UDP, 0)
    head = head[:10] + struct.pack("!H", _checksum(head + packed)) + packed
    return ethernet(macs[1], macs[0], 0x0800, head + udp)


def datagram6(macs: tuple[str, str], addresses: tuple[str, str]) -> str:
    """UDP in IPv6; pairs are source and target."""
    packed = b"".join(ipaddress.ip_address(one).packed for one in addresses)
    udp = struct.pack("!HHHH", 4000, 4001, 12, 0) + b"data"
    pseudo = packed + struct.pack("!II", len(udp), _UDP)
    checked = udp[:6] + struct.pack("!H", _checksum(pseudo + udp)) + udp[8:]
    head = struct.pack("!IHBB", 6 << 28, len(udp), _UDP, 64) + packed
    return ethernet(macs[1], macs[0], 0x86DD, head + checked)


def arp(macs: tuple[str, str], addresses: tuple[str, str]) -> str:
    """An ARP answer that says where the source's address is."""
    sides = [
        bytes.fromhex(mac.replace(":", "")) + ipaddress.ip_address(address).packed
        for mac, address in zip(macs, addresses, strict=True)
    ]
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 2) + b"".join(sides)
    return ethernet(macs[1], macs[0], 0x0806, body)


def router_advertisement(mac: str, source: str) -> str:
    """ICMPv6 that says a guest is a router."""
    message = struct.pack("!BBHBBHII", _ROUTER_ADVERTISEMENT, 0, 0, 64, 0, 1800, 0, 0)
    return _icmpv6((mac, ALL_NODES_MAC), (source, ALL_NODES), message)


def neighbour_solicitation(mac: str, source: str, wanted: str) -> str:
    """ICMPv6 that asks for the hardware address of an address, at its group (RFC 4861)."""
    packed = ipaddress.ip_address(wanted).packed
    group = ipaddress.ip_address(_SOLICITED[:13] + packed[13:])
    message = struct.pack("!BBHI", _NEIGHBOUR_SOLICITATION, 0, 0, 0) + packed
    target = f"33:33:{group.packed[12:].hex(':')}"
    return _icmpv6((mac, target), (source, str(group)), message)


def neighbour_advertisement(macs: tuple[str, str], addresses: tuple[str, str], own: str) -> str:
    """ICMPv6 that says where the address `own` is: at the first card (RFC 4861)."""
    message = struct.pack("!BBHI", _NEIGHBOUR_ADVERTISEMENT, 0, 0, _OVERRIDE)
    option = b"\x02\x01" + bytes.fromhex(macs[0].replace(":", ""))
    return _icmpv6(macs, addresses, message + ipaddress.ip_address(own).packed + option)


def marker(source: str, target: str) -> str:
    """A frame of a protocol that nobody filters, and that is told from all others."""
    return ethernet(target, source, 0x88B5, _MARKED)


def _icmpv6(macs: tuple[str, str], addresses: tuple[str, str], message: bytes) -> str:
    """A message whose bytes 2 and 3 are left for its checksum."""
    packed = b"".join(ipaddress.ip_address(one).packed for one in addresses)
    pseudo = packed + struct.pack("!II", len(message), _ICMPV6)
    checked = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    head = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255) + packed
    return ethernet(macs[1], macs[0], 0x86DD, head + checked)


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
