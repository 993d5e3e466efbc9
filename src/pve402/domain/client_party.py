"""Who counts as one client: an address, or a subnet of IPv6 addresses."""

import functools
import ipaddress
from typing import Final

_SUBNET_BITS: Final = 64  # of IPv6: a provider gives each customer at least this (RFC 6177)


@functools.lru_cache(maxsize=8192)
def of(address: str) -> str:
    """Return the party of a client's address; of text that is no address, the text."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    if mapped is not None or parsed.version == 4:
        return str(mapped or parsed)
    return str(ipaddress.ip_network((parsed, _SUBNET_BITS), strict=False))
