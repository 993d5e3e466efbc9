"""Where a new guest goes: the node with the most room, by measured and promised capacity.

Each storage of a node that guests may be made on is a room of its own. Of a node's storages that
have room for a guest, the first one in the operator's order takes it.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from pve402.domain import errors, lease


@dataclasses.dataclass(frozen=True, kw_only=True)
class NodeRoom:
    """A node's capacity; None where the token lacks the permission to see it (Sys.Audit).

    The disk's figures are those of one of its storages.
    """

    node: str
    storage: str = ""
    online: bool
    cores: int | None = None
    memory_mb: int | None = None
    memory_used_mb: int = 0
    disk_free_gb: int | None = None
    disk_gb: int | None = None  # what is ours of a storage that fills up as guests write, in all
    disk_shared: bool = False  # the storage is the same one on every node
    disk_overcommit: float | None = None  # the storage's own factor; None: that of the limits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Promise:
    """Leases that take up room on a node, whether or not their guests exist yet."""

    node: str
    size: lease.Size  # total of all of them
    made: bool  # the guests exist, so the storage's own figures already include their disks
    leases: int = 1
    storage: str | None = None  # None: not recorded, so it may be on any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How far a node may be filled; None means that the operator sets no limit."""

    leases_per_node: int | None = None
    memory_mb_per_node: int | None = None
    cores_overcommit: float = 8.0
    disk_overcommit: float = 1.0
    memory_reserve_mb: int = 1024


def choose_room(
    rooms: Sequence[NodeRoom],
    promises: Iterable[Promise],
    size: lease.Size,
    *,
    allowed: frozenset[str],
    limits: Limits,
    storages: Sequence[str] = (),
) -> NodeRoom:
    """Return the room of the allowed node with the most free memory.

    That is the one with the fewest leases if memory is unknown. Without `storages`, any storage
    will do. Raises NoCapacity if the size fits nowhere.
    """
    promised = list(promises)
    by_node: dict[str, list[Promise]] = {}
    for promise in promised:
        by_node.setdefault(promise.node, []).append(promise)
    candidates = [
        (
            _free_memory_mb(room, by_node.get(room.node, [])),
            -_count(by_node.get(room.node, [])),
            room.node,
            -_rank(room, storages),
            room,
        )
        for room in rooms
        if room.online
        and (not allowed or room.node in allowed)
        and (not storages or room.storage in storages)
        and _fits(room, by_node.get(room.node, []), size, limits)
        and _has_disk(room, promised, size, limits)
    ]
    if not candidates:
        raise errors.NoCapacity
    return max(candidates, key=lambda candidate: candidate[:-1])[-1]


def beside(rooms: Iterable[NodeRoom], row: lease.Lease) -> list[NodeRoom]:
    """Return the room where a lease's disk is, in which copies of it are made."""
    place = (row.node, row.storage or "")
    return [room for room in rooms if (room.node, room.storage) == place]


def _rank(room: NodeRoom, storages: Sequence[str]) -> int:
    return storages.index(room.storage) if storages else 0


def check_return(
    rooms: Sequence[NodeRoom],
    promises: Iterable[Promise],
    size: lease.Size,
    *,
    node: str,
    limits: Limits,
) -> None:
    """Raise NoCapacity if there is no room to restart a guest that kept only its disk."""
    unbounded = dataclasses.replace(limits, leases_per_node=None)  # the lease is already counted
    running = dataclasses.replace(size, disk_gb=0)
    choose_room(rooms, promises, running, allowed=frozenset({node}), limits=unbounded)


def check_growth(
    rooms: Sequence[NodeRoom],
    promises: Iterable[Promise],
    more: lease.Size,
    *,
    cores: int,
    node: str,
    storage: str | None,
    limits: Limits,
) -> None:
    """Raise NoCapacity if a guest cannot have so much more where it is, and `cores` in all.

    What it needs no more of may be scarce.
    """
    unbounded = dataclasses.replace(limits, leases_per_node=None)  # the lease is already counted
    here = [
        room
        for room in rooms
        if (storage is None or room.storage == storage or not more.disk_gb)
        and (room.cores is None or cores <= room.cores or not more.cores)
    ]
    choose_room(here, promises, more, allowed=frozenset({node}), limits=unbounded)


def _fits(room: NodeRoom, promises: list[Promise], size: lease.Size, limits: Limits) -> bool:
    if limits.leases_per_node is not None and _count(promises) >= limits.leases_per_node:
        return False
    promised_mb = sum(promise.size.memory_mb for promise in promises) + size.memory_mb
    is_over = limits.memory_mb_per_node is not None and promised_mb > limits.memory_mb_per_node
    if size.memory_mb and is_over:
        return False
    if size.cores and room.cores is not None:
        promised = sum(promise.size.cores for promise in promises) + size.cores
        if size.cores > room.cores or promised > room.cores * limits.cores_overcommit:
            return False
    if not size.memory_mb or room.memory_mb is None:
        return True
    return size.memory_mb <= _free_memory_mb(room, promises) - limits.memory_reserve_mb


def _has_disk(room: NodeRoom, promised: list[Promise], size: lease.Size, limits: Limits) -> bool:
    """Whether a disk can be made now, and all disks that are promised can be filled."""
    if not size.disk_gb:  # it is there
        return True
    on_storage = [promise for promise in promised if promise.storage in {None, room.storage}]
    here = [promise for promise in on_storage if promise.node == room.node]
    filled = on_storage if room.disk_shared else here
    unmade_gb = sum(promise.size.disk_gb for promise in filled if not promise.made)
    if room.disk_free_gb is not None and size.disk_gb > room.disk_free_gb - unmade_gb:
        return False
    promised_gb = sum(promise.size.disk_gb for promise in filled) + size.disk_gb
    factor = limits.disk_overcommit if room.disk_overcommit is None else room.disk_overcommit
    return room.disk_gb is None or promised_gb <= room.disk_gb * factor


def _free_memory_mb(room: NodeRoom, promises: list[Promise]) -> int:
    if room.memory_mb is None:
        return 0
    promised = sum(promise.size.memory_mb for promise in promises)
    return room.memory_mb - max(promised, room.memory_used_mb)


def _count(promises: list[Promise]) -> int:
    return sum(promise.leases for promise in promises)
