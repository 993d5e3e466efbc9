"""Addresses of services: which can be used, and why nothing answers there."""

import os
from urllib.parse import SplitResult, urlsplit

import aiohttp

from pve402.client import errors


def checked(url: str) -> str:
    """Return the address without blanks around it or a slash behind it. Raises AddressInvalid."""
    parts = _split(url.strip())
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise errors.AddressInvalid(
            f"{errors.plain(url)}: an address begins with http:// or https://"
        )
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise errors.AddressInvalid(
            "the service's address takes no user, password, query or fragment"
        )
    return url.strip().rstrip("/")


def authority(url: str) -> str:
    """Host and port of an address, as a challenge (EIP-4361) begins with; without usual ports."""
    parts = _split(url)
    return parts.netloc.lower().removesuffix(":443").removesuffix(":80") if parts else ""


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


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a port that is no number, or half an IPv6 address
        return None
    return None if port == 0 else parts
