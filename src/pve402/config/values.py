"""Checks of single settings, what they must be together, and the words for what is wrong."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from pve402.domain import shelf
from pve402.payments import addresses, errors, networks
from pve402.proxmox import options

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from pve402.config.settings import Settings

STATS_FIELDS = ("cpu", "memory", "disk", "name")

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
_EVERY_ADDRESS = frozenset({"0.0.0.0", "[::]", "::", "*"})  # noqa: S104 -- compared, not bound
_PRIVATE_KEY = re.compile(r"(?:0x)?[0-9a-fA-F]{64}")


def split(text: str) -> tuple[str, ...]:
    """The parts of a list written with commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def names(parts: tuple[str, ...]) -> tuple[str, ...]:
    """A list as it stands, without doubles."""
    return tuple(dict.fromkeys(parts))


def http_url(text: str) -> str:
    """An http or https address without credentials, query or fragment; no slash at the end."""
    parts = urlsplit(text.strip())
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http or https address")
    if parts.username or parts.fragment:
        raise ValueError("must carry neither credentials nor a fragment")
    return text.strip().rstrip("/")


def proxmox_host(text: str) -> str:
    """An address that the Proxmox client can use."""
    options.api_url(text)
    return text.strip()


def fingerprint(text: str) -> str:
    """A SHA-256 fingerprint."""
    options.fingerprint_digest(text)
    return text.strip()


def readable_file(path: Path) -> Path:
    """A file that is there."""
    if not path.is_file():
        raise ValueError("there is no such file")
    return path


def ip(text: str) -> str:
    """An IP address."""
    return str(ipaddress.ip_address(text.strip()))


def guest_ip(text: str) -> str:
    """How containers get their address."""
    if text in {"dhcp", "manual"}:
        return text
    if "/" not in text:
        raise ValueError("must be dhcp, manual, or an address with its prefix such as 10.0.0.5/24")
    return str(ipaddress.ip_interface(text))


def ip_networks(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Addresses or networks of addresses."""
    return tuple(str(ipaddress.ip_network(part, strict=False)) for part in parts)


def bind_address(text: str) -> str:
    """A host and a port."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("must be an address and a port")
    return text


def network_ids(parts: tuple[str, ...]) -> tuple[str, ...]:
    """CAIP-2 ids of networks given by either name, in the order given."""
    if not parts:
        raise ValueError("at least one network is needed")
    try:
        return names(tuple(networks.resolve(part).caip2 for part in parts))
    except errors.UnknownNetwork as error:
        raise ValueError(error.detail) from None


def evm_address(text: str) -> str:
    """An EVM address in lower case; capitals are a checksum (EIP-55) and must be right."""
    address = addresses.normalize(text.strip())
    digits = text.strip()[2:]
    if digits not in {digits.lower(), digits.upper()} and text.strip() != addresses.checksum(
        address
    ):
        raise ValueError("its checksum (EIP-55) is wrong: a letter was mistyped")
    return address


def private_key(secret: SecretStr) -> SecretStr:
    """A secp256k1 key in hexadecimal."""
    if not _PRIVATE_KEY.fullmatch(secret.get_secret_value().strip()):
        raise ValueError("must be 64 hex digits, with or without 0x before them")
    return SecretStr("0x" + secret.get_secret_value().strip().removeprefix("0x"))


def database_url(secret: SecretStr) -> SecretStr:
    """The database's address, with the driver that we use."""
    scheme, separator, rest = secret.get_secret_value().strip().partition("://")
    driver = _DRIVERS.get(scheme)
    if not separator or driver is None:
        raise ValueError("must begin with sqlite:/// or postgresql://")
    return SecretStr(f"{driver}://{rest}")


def stats_fields(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Which figures of nodes are shown."""
    if parts == ("none",):
        return ()
    unknown = set(parts) - set(STATS_FIELDS)
    if unknown:
        raise ValueError(f"must be some of {', '.join(STATS_FIELDS)}, or none")
    return names(parts)


def pool(shelves: tuple[shelf.Shelf, ...]) -> tuple[shelf.Shelf, ...]:
    """Kinds of guests to keep ready, each named once."""
    kinds = {(one.sku, one.size) for one in shelves}
    if len(kinds) < len(shelves):
        raise ValueError("must name each kind of guest once")
    return shelves


def check_together(settings: "Settings") -> None:
    """Raise for the first setting that does not agree with another."""
    if settings.pve_vmid_min > settings.pve_vmid_max:
        raise _wrong("PVE_VMID_MAX", "must not be below PVE_VMID_MIN")
    if not settings.uses_sqlite and settings.pve402_secret_key is None:
        raise _wrong("PVE402_SECRET_KEY", "is required with PostgreSQL")
    if settings.pve_console_mode == "direct" and not settings.pve_console_host:
        raise _wrong("PVE_CONSOLE_HOST", "is required with PVE_CONSOLE_MODE=direct")
    if bool(settings.pve_console_user) != bool(settings.pve_console_password):
        raise _wrong("PVE_CONSOLE_PASSWORD", "belongs together with PVE_CONSOLE_USER")
    if (settings.pve402_peer_bind or "").rpartition(":")[0] in _EVERY_ADDRESS:
        raise _wrong("PVE402_PEER_BIND", "must be one address, which the other replicas reach")
    if bool(settings.cdp_api_key_id) != bool(settings.cdp_api_key_secret):
        raise _wrong("CDP_API_KEY_SECRET", "belongs together with CDP_API_KEY_ID")
    if settings.pve402_public_url and urlsplit(settings.pve402_public_url).path:
        raise _wrong("PVE402_PUBLIC_URL", "must have no path")
    for network in settings.network:
        _check_network(settings, networks.BY_CAIP2[network])


def _check_network(settings: "Settings", network: networks.Network) -> None:
    """A network needs somebody who settles, and a chain to look at unless told not to."""
    suffix = network.name.replace("-", "_").upper()
    embedded = settings.facilitator_url_of(network.caip2) is None
    if embedded and settings.facilitator_private_key is None:
        raise _wrong(f"FACILITATOR_URL_{suffix}", f"no facilitator is known for {network.name}")
    needs_chain = embedded or not settings.trust_facilitator
    if needs_chain and settings.rpc_url_of(network.caip2) is None:
        raise _wrong(f"RPC_URL_{suffix}", f"no public JSON-RPC is known for {network.name}")


def _wrong(variable: str, reason: str) -> PydanticCustomError:
    return PydanticCustomError("disagrees", "{reason}", {"variable": variable, "reason": reason})


def problems(error: ValidationError, fields: Mapping[str, FieldInfo]) -> dict[str, str]:
    """One line for each bad variable: its name, why, and an example. No value is repeated."""
    found: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False):
        variable = problem.get("ctx", {}).get("variable") or _variable(problem["loc"])
        reason = _reason(problem)
        found.setdefault(variable, f"{variable}: {reason}{_example(variable, fields)}")
    return found


def _variable(location: Iterable[Any]) -> str:
    name, *rest = location
    if name in {"rpc_urls", "facilitator_urls"} and rest:
        suffix = networks.BY_CAIP2[str(rest[0])].name.replace("-", "_")
        return f"{str(name).removesuffix('s')}_{suffix}".upper()
    return str(name).upper()


def _reason(problem: "ErrorDetails") -> str:
    if problem["type"] == "missing":
        return "missing"
    if problem["type"] == "too_short":  # of a SecretStr, whose characters pydantic calls items
        return f"must have {problem['ctx']['min_length']} characters at least"
    return problem["msg"].removeprefix("Value error, ")


def _example(variable: str, fields: Mapping[str, FieldInfo]) -> str:
    field = fields.get(variable.lower())
    if field is None or not field.examples:
        return ""
    text = f"; {field.description}" if field.description else ""
    return f"{text} Example: {variable}={field.examples[0]}"
