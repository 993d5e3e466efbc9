"""What stands between a client and a service: the address, and why nothing answers there."""

import os
from urllib.parse import urlsplit

import aiohttp


def is_http(url: str) -> bool:
    """Whether an address is one of HTTP that names a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, or half an IPv6 address
        return False


def cause(error: Exception) -> str:
    """Why there was no answer, in the system's own words where it has some."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed without an answer"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "no such host, or its name cannot be looked up now"
    if isinstance(error, aiohttp.ClientConnectorError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return type(error).__name__
