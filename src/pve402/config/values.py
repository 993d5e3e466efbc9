"""Checks of single settings."""

import contextlib
import ipaddress
import re
import ssl
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import yarl
from pydantic import BeforeValidator, SecretStr
from pydantic_core import PydanticCustomError
from pydantic_settings import NoDecode

from pve402.domain import quota, warm_kind
from pve402.payments import addresses, errors, networks
from pve402.proxmox import options
from pve402.storage import server_address

PORTS_OF_NODES = frozenset(
    {22, 85, 111, 3128, 8006, 8007, *range(5900, 6000), *range(60000, 60051)}
)
"""Where the nodes of Proxmox VE answer: SSH, the API, its proxies, consoles and migrations."""
STATS_FIELDS = ("cpu", "memory", "disk", "name")

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
#: The last part of a name is no number: browsers take such a host for an IPv4 address.
_HOST_NAME = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*(?![0-9]+\.?$|0x[0-9a-f]*\.?$)[a-z0-9_-]{1,63}\.?")
_TYPED_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\]")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PRIVATE_KEY = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")


def split(value: Any) -> Any:
    """Split a comma-separated list; return an actual list unchanged."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


def kinds_of_guests(value: Any) -> Any:
    """Parse a comma-separated list of guest kinds."""
    parts = split(value)
    return tuple(
        warm_kind.WarmKind.parse(part) if isinstance(part, str) else part for part in parts
    )


def quota_of(value: Any) -> Any:
    """Parse a quota."""
    return quota.Quota.parse(value) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split)]
Quota = Annotated[quota.Quota | None, NoDecode, BeforeValidator(quota_of)]
WarmPool = Annotated[tuple[warm_kind.WarmKind, ...], NoDecode, BeforeValidator(kinds_of_guests)]


def names(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return a list without duplicates, in its order."""
    return tuple(dict.fromkeys(parts))


def http_url(text: str) -> str:
    """Check an http or https address without credentials or a fragment; strip its path's slash."""
    if re.search(r"\s", text.strip()):
        raise ValueError("must contain no spaces")
    parts = urlsplit(text.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http or https address")
    if parts.port == 0:  # raises ValueError for what is no port
        raise ValueError("must name a port from 1 to 65535")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("must contain neither credentials nor a fragment")
    return parts._replace(path=parts.path.rstrip("/")).geturl()


def port_of(url: str) -> int:
    """Return the port of an http or https address."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def proxmox_host(text: str) -> str:
    """Check an address that the Proxmox client can use."""
    options.api_url(text)
    return text.strip()


def token_id(text: str) -> str:
    """Check the name of an API token; blanks around it do not count."""
    options.check_token_id(text.strip())
    return text.strip()


def token_secret(secret: SecretStr) -> SecretStr:
    """Check the secret of an API token; blanks around it do not count."""
    text = secret.get_secret_value().strip()
    options.check_token_secret(text)
    return SecretStr(text)


def fingerprint(text: str) -> str:
    """A SHA-256 fingerprint."""
    options.fingerprint_digest(text)
    return text.strip()


def readable_file(path: Path) -> Path:
    """Check that a file exists."""
    if not path.is_file():
        raise ValueError("there is no such file")
    return path


def certificate_file(path: Path) -> Path:
    """Check that a PEM file has at least one certificate."""
    try:
        ssl.create_default_context(cafile=str(readable_file(path)))
    except OSError as error:  # includes SSLError
        why = "contains no certificate in PEM format" if isinstance(error, ssl.SSLError) else None
        raise ValueError(why or f"cannot be read: {error.strerror}") from None
    return path


def ip(text: str) -> str:
    """An IP address."""
    return str(ipaddress.ip_address(text.strip()))


def guest_ip(text: str) -> str:
    """Check how containers get their address."""
    text = text.strip()
    if text in {"dhcp", "manual"}:
        return text
    if "/" not in text:
        raise ValueError("must be dhcp, manual, or an address with its prefix such as 10.0.0.5/24")
    return str(ipaddress.ip_interface(text))


def ip_networks(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses or networks of addresses."""
    return tuple(str(ipaddress.ip_network(part, strict=False)) for part in parts)


def host_and_port(text: str) -> str:
    """A host that tenants type, and a port; of an IPv6 address, in brackets."""
    bind_address(text)
    if not _TYPED_HOST.fullmatch(text.rpartition(":")[0]):
        raise ValueError("must be a host name or an address, a colon and a port")
    return text


def bind_address(text: str) -> str:
    """A host and a port."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be an address and a port")
    return text


def ports_domain(text: str) -> str:
    """A domain in lower case, with a port if it is not the usual one."""
    name, colon, port = text.strip().lower().partition(":")
    is_port = port.isascii() and port.isdigit() and 0 < int(port[:6] or 0) < 65536
    labels = name.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise ValueError("must be a domain such as ports.example.net")
    if len(labels) < 2 or len(name) > 200:
        raise ValueError("must be a domain of two parts or more, of at most 200 characters")
    if colon and not is_port:
        raise ValueError("must name a port from 1 to 65535 after the colon")
    return f"{name}{colon}{port}"


def network_ids(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the CAIP-2 ids of networks given by either name, in the order given."""
    if not parts:
        raise ValueError("at least one network is needed")
    try:
        return names(tuple(networks.resolve(part).caip2 for part in parts))
    except errors.UnknownNetwork as error:
        raise ValueError(error.detail) from None


def evm_address(text: str) -> str:
    """Return an EVM address in lower case; capitals are a checksum (EIP-55) and must be correct."""
    address = addresses.normalize(text.strip())
    digits = text.strip()[2:]
    if digits not in {digits.lower(), digits.upper()} and text.strip() != addresses.checksum(
        address
    ):
        raise ValueError("its checksum (EIP-55) is wrong; check for typos")
    return address


def payee(text: str) -> str:
    """An EVM address that can be paid: neither the zero address nor a token."""
    address = evm_address(text)
    if int(address, 16) == 0 or address in {one.asset.lower() for one in networks.NETWORKS}:
        raise ValueError("nobody can be paid there: tokens refuse it")
    return address


def private_key(secret: SecretStr) -> SecretStr:
    """A secp256k1 key in hexadecimal."""
    if not _PRIVATE_KEY.fullmatch(secret.get_secret_value().strip()):
        raise ValueError("must be 64 hex digits, with or without a leading 0x")
    return SecretStr("0x" + secret.get_secret_value().strip().removeprefix("0x"))


def database_url(secret: SecretStr) -> SecretStr:
    """Return the database's address with our driver."""
    scheme, separator, rest = secret.get_secret_value().strip().partition("://")
    driver = _DRIVERS.get(scheme.lower())
    if not separator or driver is None:
        raise ValueError("must begin with sqlite:/// or postgresql://")
    if driver.startswith("postgresql"):
        server_address.check(f"{driver}://{rest}")
    return SecretStr(f"{driver}://{rest}")


def origins(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return origins as browsers send them (RFC 6454): no path or default port; or `*`."""
    return names(tuple(part if part == "*" else origin(part) for part in parts))


def origin(text: str) -> str:
    """Return the origin of an address, which may have a trailing slash and nothing more."""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "*" in text:
        raise ValueError("must be origins such as https://shop.example.com, or * for all")
    if parts.port == 0:  # raises ValueError for what is no port
        raise ValueError("must be origins with a port from 1 to 65535")
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError("must be origins, without a path or credentials")
    host = _browsers_host(parts.hostname)
    usual = {"http": 80, "https": 443}[parts.scheme]
    port = f":{parts.port}" if parts.port not in {None, usual} else ""
    return f"{parts.scheme}://{host}{port}"


def _browsers_host(text: str) -> str:
    """Return a host as browsers write it (WHATWG URL). Raises ValueError for what is none."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return _browsers_host_name(text)
    if address.version == 4:
        return str(address)
    if address.scope_id is not None:
        raise ValueError("must be origins without an IPv6 zone")
    mapped = address.ipv4_mapped
    if mapped is None:
        return f"[{address.compressed}]"
    return f"[::ffff:{int(mapped) >> 16:x}:{int(mapped) & 0xFFFF:x}]"


def _browsers_host_name(text: str) -> str:
    with contextlib.suppress(ValueError):
        name = yarl.URL.build(scheme="https", host=text).raw_host or ""
        if _HOST_NAME.fullmatch(name):
            return name
    raise ValueError("must be origins with a host that browsers can open")


def stats_fields(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Check which node figures are shown."""
    if parts == ("none",):
        return ()
    unknown = set(parts) - set(STATS_FIELDS)
    if unknown:
        raise ValueError(f"must be some of {', '.join(STATS_FIELDS)}, or none")
    return names(parts)


def warm_pool(warm_kinds: tuple[warm_kind.WarmKind, ...]) -> tuple[warm_kind.WarmKind, ...]:
    """Check the kinds of guests to keep ready, each named once."""
    kinds = {(one.sku, one.size) for one in warm_kinds}
    if len(kinds) < len(warm_kinds):
        raise ValueError("must name each kind of guest once")
    return warm_kinds


def disagrees(variable: str, reason: str) -> PydanticCustomError:
    """Return the error to raise if one setting contradicts another."""
    return PydanticCustomError("disagrees", "{reason}", {"variable": variable, "reason": reason})
