"""Service addresses: validation, and the reason when nothing answers."""

import os
from urllib.parse import SplitResult, urlsplit

import aiohttp

from pve402.client import errors


def checked(url: str) -> str:
    """Strip blanks and the trailing slash from an address. Raises AddressInvalid."""
    parts = _split(url.strip())
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise errors.AddressInvalid(
            f"{errors.plain(url)}: an address must begin with http:// or https://"
        )
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise errors.AddressInvalid(
            "the service's address must not contain a user, password, query or fragment"
        )
    return url.strip().rstrip("/")


def authority(url: str) -> str:
    """Host and port as a challenge (EIP-4361) starts with them; default ports are left out."""
    parts = _split(url)
    return parts.netloc.lower().removesuffix(":443").removesuffix(":80") if parts else ""


def origin(url: str) -> str:
    """Scheme, host and port of an address, in one form. Raises AddressInvalid."""
    parts = urlsplit(checked(url))
    default = ":443" if parts.scheme == "https" else ":80"
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(default)}"


def cause(error: Exception) -> str:
    """Why there was no answer, in the system's own words if it gives any."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed without an answer"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "there is no such host, or its name cannot be looked up right now"
    if isinstance(error, aiohttp.ClientConnectorError) and error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return type(error).__name__


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # the port is not a number, or the IPv6 address is incomplete
        return None
    return None if port == 0 else parts
