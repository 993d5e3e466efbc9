"""Named value formats of the API schema and the texts that refuse a value (PVE::JSONSchema).

Each check takes the text sent and raises `FormatError` with Proxmox's words, line end included.
"""

import ipaddress
import re
import zoneinfo
from collections.abc import Callable

from pve402_devnet.pve import privileges

_CONFIG_ID = re.compile(r"[a-z][a-z0-9_-]+", re.IGNORECASE)
_DNS_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?"
_DNS_NAME = re.compile(rf"(?:{_DNS_LABEL}\.)*{_DNS_LABEL}")
_TAG = re.compile(r"[a-z0-9_][a-z0-9_\-+.]*", re.IGNORECASE)
_MAC = re.compile(r"[a-f0-9][02468ace](?::[a-f0-9]{2}){5}", re.IGNORECASE)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)([KMGT](?:iB)?)?")
_STORAGE_ID = re.compile(r"[a-z][a-z0-9\-_.]*[a-z0-9]", re.IGNORECASE)
_POOL_ID = re.compile(r"[A-Za-z0-9.\-_]+(?:/[A-Za-z0-9.\-_]+){0,2}")
_USER_ID = re.compile(r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+")
_TOKEN_ID = re.compile(r"[^\s:/]+@[A-Za-z][A-Za-z0-9.\-_]+![A-Za-z][A-Za-z0-9.\-_]+")
_TASK_STATUS = re.compile(r"ok|error|warning|unknown", re.IGNORECASE)
_CONTENT_TYPES = ("backup", "images", "import", "iso", "none", "rootdir", "snippets", "vztmpl")
_UNITS = {"K": 1, "M": 2, "G": 3, "T": 4}


class FormatError(ValueError):
    """A value does not have the format of its parameter."""


def split_list(text: str) -> list[str]:
    """Split a list parameter the way Proxmox does: at spaces, commas, semicolons and NUL."""
    return [part for part in re.split(r"[,;\s\0]+", text) if part]


def parse_size(text: str) -> int | None:
    """Read a disk size; without a unit it is bytes. None if it is not a size."""
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    exponent = _UNITS[match[2][0]] if match[2] else 0
    return int(float(match[1]) * 1024**exponent)


def format_size(size: int) -> str:
    """Write a disk size with the largest unit that divides it."""
    for unit in ("", "K", "M", "G"):
        if size % 1024:
            return f"{size}{unit}"
        size //= 1024
    return f"{size}T"


def parse_boolean(text: str) -> str | None:
    """Read a boolean as property strings write it."""
    if re.fullmatch(r"1|on|yes|true", text, re.IGNORECASE):
        return "1"
    if re.fullmatch(r"0|off|no|false", text, re.IGNORECASE):
        return "0"
    return None


def _matching(pattern: re.Pattern[str], refusal: str) -> Callable[[str], None]:
    def check(text: str) -> None:
        if pattern.fullmatch(text) is None:
            raise FormatError(refusal.format(text))

    return check


def _ip(text: str) -> None:
    if not _is_address(text, 4) and not _is_address(text, 6):
        raise FormatError("value does not look like a valid IP address\n")


def _ip_version(version: int) -> Callable[[str], None]:
    def check(text: str) -> None:
        if not _is_address(text, version):
            raise FormatError(f"value does not look like a valid IPv{version} address\n")

    return check


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version and "%" not in text
    except ValueError:
        return False


def _nameserver(text: str) -> None:
    address, percent, interface = text.partition("%")
    if percent and address.startswith("fe80:") and interface and _is_address(address, 6):
        return
    _ip(text)


def _ip_config(version: int, words: tuple[str, ...]) -> Callable[[str], None]:
    longest = 32 if version == 4 else 128

    def check(text: str) -> None:
        address, slash, prefix = text.partition("/")
        known = text in words
        network = slash and prefix.isdecimal() and 7 < int(prefix) <= longest
        if not known and not (network and _is_address(address, version)):
            raise FormatError(
                f"value does not look like a valid ipv{version} network configuration\n"
            )

    return check


def _disk_size(text: str) -> None:
    if parse_size(text) is None:
        raise FormatError(f"value does not look like a valid disk size: {text}\n")


def _mount_path(text: str) -> None:
    if re.search(r"/\.\.?/", text) or re.search(r"/\.\.?$", text) or text.startswith("../"):
        raise FormatError(f"{text} contains illegal character sequences\n")


def _device_path(text: str) -> None:
    if re.search(r"/\.\.?(?:/|$)", text) or not text.startswith("/dev/"):
        raise FormatError(f"{text} is not a valid device path\n")


def _volume_id(text: str) -> None:
    storage, separator, name = text.partition(":")
    if not separator or not name or _STORAGE_ID.fullmatch(storage) is None:
        raise FormatError(f"unable to parse volume ID '{text}'\n")


def _startup_order(text: str) -> None:
    part = re.compile(r"\s*|(?:order=)?\d+|up=\d+|down=\d+")
    if not text or any(part.fullmatch(item) is None for item in text.split(",")):
        raise FormatError("unable to parse startup options\n")


def _time_zone(text: str) -> None:
    known = zoneinfo.available_timezones()
    if text not in ("host", "UTC") and known and text not in known:
        raise FormatError(f"invalid time zone '{text}'\n")


def _storage_id(text: str) -> None:
    if len(text) < 2:
        raise FormatError(f"storage ID '{text}' cannot be shorter than 2 characters\n")
    if _STORAGE_ID.fullmatch(text) is None:
        raise FormatError(f"storage ID '{text}' contains illegal characters\n")


def _content_type(text: str) -> None:
    if text not in _CONTENT_TYPES:
        raise FormatError(f"invalid content type '{text}'\n")


def _privilege(text: str) -> None:
    if text not in privileges.EVERY:
        raise FormatError(f"invalid privilege '{text}'\n")


def _pool(text: str) -> None:
    if text.count("/") > 2:
        raise FormatError(f"pool name '{text}' nested too deeply (max levels = 3)\n")
    if _POOL_ID.fullmatch(text) is None:
        raise FormatError(f"pool name '{text}' contains invalid characters\n")


def _subnet_id(text: str) -> None:
    try:
        ipaddress.ip_network(text.partition("-")[2].replace("-", "/") or text)
    except ValueError as error:
        raise FormatError(f"unable to parse subnet id '{text}'\n") from error


CHECKS: dict[str, Callable[[str], None]] = {
    "dns-name": _matching(_DNS_NAME, "value does not look like a valid DNS name\n"),
    "ip": _ip,
    "ipv4": _ip_version(4),
    "ipv6": _ip_version(6),
    "lxc-ip-with-ll-iface": _nameserver,
    "pve-ipv4-config": _ip_config(4, ("dhcp", "manual")),
    "pve-ipv6-config": _ip_config(6, ("auto", "dhcp", "manual")),
    "mac-addr": _matching(_MAC, "value does not look like a valid unicast MAC address\n"),
    "disk-size": _disk_size,
    "pve-configid": _matching(_CONFIG_ID, "invalid configuration ID '{}'\n"),
    "pve-ct-timezone": _time_zone,
    "pve-lxc-dev-string": _device_path,
    "pve-lxc-mp-string": _mount_path,
    "pve-node": _matching(re.compile(_DNS_LABEL), "value does not look like a valid node name\n"),
    "pve-poolid": _pool,
    "pve-priv": _privilege,
    "pve-realm": _matching(
        re.compile(r"[A-Za-z][A-Za-z0-9.\-_]+"),
        "value does not look like a valid realm\n",
    ),
    "pve-roleid": _matching(
        re.compile(r"[A-Za-z0-9.\-_]+"), "role name '{}' contains invalid characters\n"
    ),
    "pve-groupid": _matching(
        re.compile(r"[A-Za-z0-9.\-_]+"), "group name '{}' contains invalid characters\n"
    ),
    "pve-sdn-subnet-id": _subnet_id,
    "pve-startup-order": _startup_order,
    "pve-storage-content": _content_type,
    "pve-storage-id": _storage_id,
    "pve-tag": _matching(_TAG, "invalid characters in tag\n"),
    "pve-task-status-type": _matching(_TASK_STATUS, "invalid status '{}'\n"),
    "pve-tokenid": _matching(_TOKEN_ID, "value '{}' does not look like a valid token ID\n"),
    "pve-userid": _matching(_USER_ID, "value '{}' does not look like a valid user name\n"),
    "pve-vmid": _matching(
        re.compile(r"[1-9][0-9]{2,8}"), "value does not look like a valid VM ID\n"
    ),
    "pve-volume-id": _volume_id,
}


def check(name: str, text: str) -> None:
    """Check a value against a named format; with a name ending in `-list`, each of its parts."""
    if name.endswith("-list"):
        for part in split_list(text):
            CHECKS[name.removesuffix("-list")](part)
        return
    CHECKS[name](text)
