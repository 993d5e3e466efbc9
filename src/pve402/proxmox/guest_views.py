"""What Proxmox VE reports about a guest: status, configuration, addresses, console tickets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Interface, IPv6Interface, ip_interface

from pve402.proxmox import answers, shapes
from pve402.proxmox.resources import RunState
from pve402.proxmox.upid import Upid

_ADDRESSES_LIMIT = 64
_SIZE = re.compile(r"(?:.*,)?size=(\d{1,15})([KMGT]?)(?:,.*)?")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, kw_only=True)
class GuestStatus:
    """The guest now; bytes and seconds, None if unknown, `lock` empty without one."""

    state: RunState
    name: str
    lock: str
    tags: tuple[str, ...]
    uptime_seconds: int
    cpu_usage: float | None
    cpu_cores: int | None
    memory_used: int | None
    memory_total: int | None
    disk_used: int | None
    disk_total: int | None


@dataclass(frozen=True, kw_only=True)
class GuestConfig:
    """The guest's configuration as stored; a guest being created shows little but `lock`.

    `values` holds every option as Proxmox writes it, `raw` the lines for LXC itself, which no call
    of ours can write.
    """

    digest: str
    hostname: str
    description: str
    tags: tuple[str, ...]
    lock: str
    memory_mb: int | None
    cores: int | None
    values: Mapping[str, str]
    raw: tuple[tuple[str, str], ...] = ()

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of its first program, as an OCI image brings them."""
        pairs = (one.partition("=") for one in self.values.get("env", "").split("\0"))
        return {name: value for name, found, value in pairs if found}

    @property
    def disk_bytes(self) -> int | None:
        """The size of the root disk; None if it has none, and so no limit."""
        match = _SIZE.fullmatch(self.values.get("rootfs", ""))
        return None if match is None else int(match[1]) * _UNITS[match[2]]

    def has_smaller_disk(self, size_gib: int) -> bool:
        """Whether the root disk is smaller than that; one without a size has no limit."""
        return self.disk_bytes is not None and self.disk_bytes < size_gib * 2**30


@dataclass(frozen=True, kw_only=True)
class Interface:
    """A network card as the running guest sees it."""

    name: str
    hardware_address: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]


@dataclass(frozen=True, kw_only=True)
class TerminalTicket:
    """A prepared terminal: good for one connection, to be opened within 10 s."""

    user: str
    ticket: str = field(repr=False)
    port: int
    upid: Upid


@dataclass(frozen=True, kw_only=True)
class VncTicket:
    """A prepared VNC server: good for one connection, to be opened within 10 s.

    `password` is the 8-character password for VNC authentication.
    """

    user: str
    ticket: str = field(repr=False)
    password: str = field(repr=False)
    port: int
    upid: Upid


def status(data: object, call: answers.Call) -> GuestStatus:
    """Read `status/current`. Raises UnexpectedAnswer."""
    fields = shapes.as_object(data, call)
    return GuestStatus(
        state=RunState.read(shapes.text(fields, "status", call)),
        name=shapes.optional_text(fields, "name"),
        lock=shapes.optional_text(fields, "lock"),
        tags=shapes.tags(fields),
        uptime_seconds=shapes.optional_whole(fields, "uptime") or 0,
        cpu_usage=shapes.optional_number(fields, "cpu"),
        cpu_cores=shapes.optional_whole(fields, "cpus"),
        memory_used=shapes.optional_whole(fields, "mem"),
        memory_total=shapes.optional_whole(fields, "maxmem"),
        disk_used=shapes.optional_whole(fields, "disk"),
        disk_total=shapes.optional_whole(fields, "maxdisk"),
    )


def config(data: object, call: answers.Call) -> GuestConfig:
    """Read `config`. Proxmox adds a newline to the description. Raises UnexpectedAnswer."""
    fields = shapes.as_object(data, call)
    return GuestConfig(
        digest=shapes.optional_text(fields, "digest"),
        hostname=shapes.optional_text(fields, "hostname"),
        description=shapes.optional_text(fields, "description").removesuffix("\n"),
        tags=shapes.tags(fields),
        lock=shapes.optional_text(fields, "lock"),
        memory_mb=shapes.optional_whole(fields, "memory"),
        cores=shapes.optional_whole(fields, "cores"),
        values={name: shapes.optional_text(fields, name) for name in fields},
        raw=_raw(fields.get("lxc")),
    )


def _raw(lines: object) -> tuple[tuple[str, str], ...]:
    """Read LXC's own settings; what is no pair of texts stands for a setting without a name."""
    found = lines if isinstance(lines, list) else []
    return tuple(
        (str(line[0]), str(line[1])) if isinstance(line, list) and len(line) == 2 else ("", "")
        for line in found
    )


def interfaces(data: object, call: answers.Call) -> tuple[Interface, ...]:
    """Read `interfaces`, null for a stopped guest. Raises UnexpectedAnswer."""
    if data is None:
        return ()
    return tuple(
        Interface(
            name=shapes.optional_text(row, "name"),
            hardware_address=shapes.optional_text(row, "hardware-address")
            or shapes.optional_text(row, "hwaddr"),
            addresses=_addresses(row),
        )
        for row in shapes.as_rows(data, call)
    )


def terminal_ticket(data: object, call: answers.Call) -> TerminalTicket:
    """Read the answer of `termproxy`. Raises OutcomeUnknown if we cannot read it."""
    fields = shapes.as_object(data, call)
    return TerminalTicket(
        user=shapes.text(fields, "user", call),
        ticket=shapes.text(fields, "ticket", call),
        port=shapes.whole(fields, "port", call),
        upid=upid(fields.get("upid"), call),
    )


def vnc_ticket(data: object, call: answers.Call) -> VncTicket:
    """Read the answer of `vncproxy`. Raises OutcomeUnknown if we cannot read it."""
    fields = shapes.as_object(data, call)
    ticket = shapes.text(fields, "ticket", call)
    return VncTicket(
        user=shapes.text(fields, "user", call),
        ticket=ticket,
        # Before 9.1 the answer has no password field: it is the ticket's first characters.
        password=shapes.optional_text(fields, "password") or ticket.partition(":PVEVNC:")[0],
        port=shapes.whole(fields, "port", call),
        upid=upid(fields.get("upid"), call),
    )


def upid(data: object, call: answers.Call) -> Upid:
    """Read a UPID. Raises OutcomeUnknown if a write answered with something else."""
    try:
        return Upid.parse(data)
    except ValueError:
        raise answers.unusable(call, "the answer holds no UPID", status=200) from None


def _addresses(card: shapes.Fields) -> tuple[IPv4Interface | IPv6Interface, ...]:
    """The addresses of one card, without anything the guest reports that is not an address."""
    entries = card.get("ip-addresses")
    if not isinstance(entries, list):
        entries = [{"ip-address": card.get("inet")}, {"ip-address": card.get("inet6")}]
    rows = [entry for entry in entries[:_ADDRESSES_LIMIT] if isinstance(entry, dict)]
    return tuple(address for row in rows if (address := _address(row)))


def _address(entry: Mapping[str, object]) -> IPv4Interface | IPv6Interface | None:
    text = shapes.optional_text(entry, "ip-address")
    prefix = shapes.optional_text(entry, "prefix")
    try:
        return ip_interface(f"{text}/{prefix}" if prefix else text)
    except ValueError:
        return None
