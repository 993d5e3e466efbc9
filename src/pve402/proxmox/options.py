"""How to reach a Proxmox VE host, and our identity there."""

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from yarl import URL

DEFAULT_PORT = 8006
_PATHS = frozenset({"", "/api2/json"})
_TOKEN_ID = re.compile(r"[^\s:/@!]+@[A-Za-z][A-Za-z0-9._-]*![A-Za-z][A-Za-z0-9._-]*")
#: With a longer name, termproxy silently closes the console.
_TOKEN_ID_LIMIT = 64
_USERNAME = re.compile(r"[^\s:/@!]+@[A-Za-z][A-Za-z0-9._-]*")
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, kw_only=True)
class TimeLimits:
    """Time limits, in seconds.

    Proxmox takes 3 s to answer 401, so reads need more than that. It gives up on its own
    workers after 30 s with status 596, so writes need more than that. It closes idle
    connections after 5 s; we close them earlier, so that we never send a write over a
    connection that is being closed.
    """

    connect_seconds: float = 5.0
    read_seconds: float = 20.0
    write_seconds: float = 40.0
    console_seconds: float = 10.0
    idle_connection_seconds: float = 3.0

    def __post_init__(self) -> None:
        if self.read_seconds < 4:
            raise ValueError("read_seconds must be 4 or more: Proxmox takes 3 s to answer 401")
        if min(self.connect_seconds, self.write_seconds, self.console_seconds) <= 0:
            raise ValueError("time limits must be above 0 seconds")
        if not 0 < self.idle_connection_seconds < 5:
            raise ValueError("idle_connection_seconds must be below the 5 s of Proxmox")


@dataclass(frozen=True, kw_only=True)
class ProxmoxOptions:
    """Address and identity for one `ProxmoxClient`.

    Set either `token_id` and `token_secret`, or `username` and `password` for what an API
    token cannot do. `fingerprint_sha256` pins the certificate and replaces the check of its
    chain and name.

    Raises ValueError, without any secret in its text, if a value cannot work.
    """

    host: str
    token_id: str = ""
    token_secret: str = field(default="", repr=False)
    username: str = ""
    password: str = field(default="", repr=False)
    verify_ssl: bool = True
    ca_file: Path | None = None
    fingerprint_sha256: str | None = None
    limits: TimeLimits = field(default_factory=TimeLimits)
    max_answer_bytes: int = 8 * 1024 * 1024
    max_parallel_calls: int = 16

    def __post_init__(self) -> None:
        api_url(self.host)
        if self.fingerprint_sha256 is not None:
            fingerprint_digest(self.fingerprint_sha256)
        if bool(self.token_id) == bool(self.username):
            raise ValueError("give either token_id with token_secret or username with password")
        if self.token_id:
            check_token_id(self.token_id)
            check_token_secret(self.token_secret)
        elif not _USERNAME.fullmatch(self.username) or not self.password:
            raise ValueError("username must read user@realm, with a password")


def check_token_id(text: str) -> None:
    """Raises ValueError, which does not quote the text, unless it can name an API token."""
    if not _TOKEN_ID.fullmatch(text) or not _HEADER_SAFE.fullmatch(text):
        raise ValueError("must read user@realm!name")
    if len(text) > _TOKEN_ID_LIMIT:
        raise ValueError("must be at most 64 characters: longer ones open no console")


def check_token_secret(text: str) -> None:
    """Raises ValueError, which does not quote the text, unless it fits into a header."""
    if not _HEADER_SAFE.fullmatch(text):
        raise ValueError("must be printable ASCII without spaces")


def api_url(host: str) -> URL:
    """The root of the API at `host`: a name or address, with or without scheme and port.

    The port defaults to 8006, whatever the scheme. Plain http is accepted only for loopback,
    because every request carries the credentials.

    Raises ValueError if `host` has any other form.
    """
    text = host.strip()
    if _is_bare_ipv6(text):
        text = f"[{text}]"
    try:
        url = URL(text if "://" in text else f"https://{text}")
        name, port = url.host, url.explicit_port
    except ValueError:
        raise ValueError("host is not a name, an address or a URL") from None
    if not name or url.scheme not in {"https", "http"} or url.path.rstrip("/") not in _PATHS:
        raise ValueError("host must read name, name:port or https://name:port")
    if url.user is not None or url.query_string or url.fragment:
        raise ValueError("host must not carry credentials, a query or a fragment")
    if url.scheme == "http" and not _is_loopback(name):
        raise ValueError("plain http would expose the credentials; use https")
    root = URL.build(scheme=url.scheme, host=name, port=port or DEFAULT_PORT)
    return root / "api2" / "json"


def fingerprint_digest(text: str) -> bytes:
    """The 32 bytes of a SHA-256 fingerprint written in hexadecimal, colons allowed."""
    try:
        digest = bytes.fromhex(text.replace(":", "").strip())
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ValueError("fingerprint_sha256 must be 32 bytes in hexadecimal")
    return digest


def _is_bare_ipv6(text: str) -> bool:
    try:
        return isinstance(ip_address(text), IPv6Address)
    except ValueError:
        return False


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
