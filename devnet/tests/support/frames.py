"""Ethernet frames in hexadecimal, true and forged."""

import ipaddress
import struct

_MARKED = b"the marker of the test"
MARKER = _MARKED.hex()
EVERYBODY = "ff:ff:ff:ff:ff:ff"
_UDP = 17
_ICMPV6 = 58
_ROUTER_ADVERTISEMENT = 134


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
    target = ipaddress.ip_address("ff02::1").packed
    origin = ipaddress.ip_address(source).packed
    message = struct.pack("!BBHBBHII", _ROUTER_ADVERTISEMENT, 0, 0, 64, 0, 1800, 0, 0)
    pseudo = origin + target + struct.pack("!II", len(message), _ICMPV6)
    checked = message[:2] + struct.pack("!H", _checksum(pseudo + message)) + message[4:]
    head = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255) + origin + target
    return ethernet("33:33:00:00:00:01", mac, 0x86DD, head + checked)


def marker(source: str) -> str:
    """A frame of a protocol that nobody filters, and that is told from all others."""
    return ethernet(EVERYBODY, source, 0x88B5, _MARKED)


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
