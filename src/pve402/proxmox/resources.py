"""Rows of `/cluster/resources`: all guests, nodes and storages in one answer.

Figures are a few seconds old. While a guest is being created it has a placeholder name, no tags,
default figures and, for up to 10 s, the status `unknown`.
"""

from dataclasses import dataclass
from enum import Enum

from pve402.proxmox import answers, shapes

_CALL = answers.Call(method="GET", path="/cluster/resources")


class RunState(Enum):
    """Whether a guest runs."""

    RUNNING = "running"  # its processes run
    STOPPED = "stopped"  # it exists but does not run
    UNKNOWN = "unknown"  # Proxmox has no figures for it, as it is new or its node is offline

    @classmethod
    def read(cls, status: str) -> "RunState":
        """The state for Proxmox's word; UNKNOWN for any word we do not know."""
        return {"running": cls.RUNNING, "stopped": cls.STOPPED}.get(status, cls.UNKNOWN)


@dataclass(frozen=True, kw_only=True)
class GuestSummary:
    """A container in the list of all guests; bytes and seconds, None if unknown."""

    node: str
    vmid: int
    name: str
    state: RunState
    lock: str
    tags: tuple[str, ...]
    uptime_seconds: int
    cpu_usage: float | None
    cpu_cores: int | None
    memory_used: int | None
    memory_total: int | None
    disk_used: int | None
    disk_total: int | None
    network_out: int | None = None  # since it was started


@dataclass(frozen=True, kw_only=True)
class NodeSummary:
    """A node; its figures need Sys.Audit and are None without it."""

    node: str
    online: bool
    uptime_seconds: int
    cpu_usage: float | None
    cpu_cores: int | None
    memory_used: int | None
    memory_total: int | None
    disk_used: int | None
    disk_total: int | None
    in_maintenance: bool = False  # Proxmox VE's high availability moves its guests away


@dataclass(frozen=True, kw_only=True)
class StorageSummary:
    """A storage of one node; bytes, None if unknown."""

    node: str
    storage: str
    available: bool
    shared: bool
    type: str  # the plugin type, such as lvmthin; empty if unknown
    content: frozenset[str]
    disk_used: int | None
    disk_total: int | None


@dataclass(frozen=True, kw_only=True)
class ClusterResources:
    """Everything the cluster shows us at one moment."""

    guests: tuple[GuestSummary, ...]
    nodes: tuple[NodeSummary, ...]
    storages: tuple[StorageSummary, ...]


def read(data: object) -> ClusterResources:
    """The resources in the call's data. Raises UnexpectedAnswer."""
    rows = shapes.as_rows(data, _CALL)
    return ClusterResources(
        guests=tuple(guest(row) for row in rows if row.get("type") == "lxc"),
        nodes=tuple(node(row) for row in rows if row.get("type") == "node"),
        storages=tuple(_storage(row) for row in rows if row.get("type") == "storage"),
    )


def guest(row: shapes.Fields) -> GuestSummary:
    """One container's row. Raises UnexpectedAnswer."""
    return GuestSummary(
        node=shapes.text(row, "node", _CALL),
        vmid=shapes.whole(row, "vmid", _CALL),
        name=shapes.optional_text(row, "name"),
        state=RunState.read(shapes.optional_text(row, "status")),
        lock=shapes.optional_text(row, "lock"),
        tags=shapes.tags(row),
        uptime_seconds=shapes.optional_whole(row, "uptime") or 0,
        cpu_usage=shapes.optional_number(row, "cpu"),
        cpu_cores=shapes.optional_whole(row, "maxcpu"),
        memory_used=shapes.optional_whole(row, "mem"),
        memory_total=shapes.optional_whole(row, "maxmem"),
        disk_used=shapes.optional_whole(row, "disk"),
        disk_total=shapes.optional_whole(row, "maxdisk"),
        network_out=shapes.optional_whole(row, "netout"),
    )


def node(row: shapes.Fields) -> NodeSummary:
    """One node's row, here and in `/nodes`. Raises UnexpectedAnswer."""
    return NodeSummary(
        node=shapes.text(row, "node", _CALL),
        online=row.get("status") == "online",
        in_maintenance=row.get("hastate") == "maintenance",
        uptime_seconds=shapes.optional_whole(row, "uptime") or 0,
        cpu_usage=shapes.optional_number(row, "cpu"),
        cpu_cores=shapes.optional_whole(row, "maxcpu"),
        memory_used=shapes.optional_whole(row, "mem"),
        memory_total=shapes.optional_whole(row, "maxmem"),
        disk_used=shapes.optional_whole(row, "disk"),
        disk_total=shapes.optional_whole(row, "maxdisk"),
    )


def _storage(row: shapes.Fields) -> StorageSummary:
    return StorageSummary(
        node=shapes.text(row, "node", _CALL),
        storage=shapes.text(row, "storage", _CALL),
        available=row.get("status") == "available",
        shared=bool(shapes.optional_whole(row, "shared")),
        type=shapes.optional_text(row, "plugintype"),
        content=frozenset(shapes.optional_text(row, "content").split(",")) - {""},
        disk_used=shapes.optional_whole(row, "disk"),
        disk_total=shapes.optional_whole(row, "maxdisk"),
    )
