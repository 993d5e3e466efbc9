"""What workers do to volumes: grow, copy."""

import asyncio

from pve402_devnet.pve import cluster, config, errors, storage, tasks

_BLOCK = 4096
_EXTENT = 4 * 1024**2
_COPY_REPORT = (
    "",
    "Number of files: 324 (reg: 21, dir: 27, link: 276)",
    "Number of created files: 322 (reg: 21, dir: 25, link: 276)",
    "Number of deleted files: 0",
    "Number of regular files transferred: 21",
    "Total file size: 2,028,500 bytes",
    "Total transferred file size: 2,026,444 bytes",
    "Literal data: 2,026,444 bytes",
    "Matched data: 0 bytes",
    "File list size: 0",
    "File list generation time: 0.001 seconds",
    "File list transfer time: 0.000 seconds",
    "Total bytes sent: 2,036,341",
    "Total bytes received: 1,362",
    "",
    "sent 2,036,341 bytes  received 1,362 bytes  4,075,406.00 bytes/sec",
    "total size is 2,028,500  speedup is 1.00",
)
_ONLINE_FAILURE = (
    "Failed to update the container's filesystem: command 'unshare -m -- sh -c 'mount"
    " --make-rprivate / && mount /dev/loop0 /tmp && resize2fs /dev/loop0'' failed: exit code 1"
)
_ONLINE_GROWTH = (  # the image has grown, its file system grows at the next start
    "resize2fs 1.47.2 (1-Jan-2025)",
    "resize2fs: Permission denied to resize filesystem",
    "Filesystem at /dev/loop0 is mounted on /tmp; on-line resizing required",
    "old_desc_blocks = 1, new_desc_blocks = 1",
    _ONLINE_FAILURE,
    "",
)
_CHECKS = (
    "Pass 1: Checking inodes, blocks, and sizes",
    "Pass 2: Checking directory structure",
    "Pass 3: Checking directory connectivity",
    "Pass 4: Checking reference counts",
    "Pass 5: Checking group summary information",
)


async def resize(
    world: cluster.Cluster, guest: cluster.Guest, name: str, new_size: int, task: tasks.Task
) -> None:
    """Body of `resize`: the image, the configuration, then the file system in it."""
    volume = config.parse_volume(name, guest.config.text(name))
    found = world.storages.volume(volume["volume"])
    if found is None:
        raise errors.Failure(f"no such volume '{volume['volume']}'")
    path = found[0].path(found[1].name)
    if new_size > found[0].options.largest_volume_bytes:
        task.log("qemu-img: Could not resize file: File too large")
        raise errors.Failure(
            f"command '/usr/bin/qemu-img resize '--preallocation=off' -f raw {path} {new_size}'"
            " failed: exit code 1"
        )
    old_size, found[1].size_bytes = found[1].size_bytes, new_size
    guest.config.put(name, config.print_volume(name, {**volume, "size": str(new_size)}))
    task.log(*_growth(found[0], found[1], old_size))
    if await world.is_running(guest.vmid):
        task.log(*(_lvm_online_log(path, new_size) if found[0].is_lvm else _ONLINE_GROWTH))
        return
    task.log(*_grow_log(path, old_size, new_size))
    await world.clock.sleep(world.latencies.resize)


def _growth(where: storage.Storage, volume: storage.Volume, old_size: int) -> list[str]:
    if not where.is_lvm:
        return ["Image resized."]
    name = f"{where.options.volume_group}/{volume.name}"
    before, after = _extents(old_size), _extents(volume.size_bytes)
    return [
        f"  Size of logical volume {name} changed from {before} to {after}.",
        f"  Logical volume {name} successfully resized.",
    ]


def _extents(size_bytes: int) -> str:
    return f"{size_bytes / 1024**3:.2f} GiB ({size_bytes // _EXTENT} extents)"


def _lvm_online_log(path: str, new_size: int) -> list[str]:
    """A device can grow under a mounted file system, which then grows too."""
    return [
        "resize2fs 1.47.2 (1-Jan-2025)",
        f"Filesystem at {path} is mounted on /tmp; on-line resizing required",
        f"The filesystem on {path} is now {new_size // _BLOCK} (4k) blocks long.",
        "",
    ]


def _grow_log(path: str, old_size: int, new_size: int) -> list[str]:
    before, after = old_size // _BLOCK, new_size // _BLOCK
    return [
        "e2fsck 1.47.2 (1-Jan-2025)",
        *_CHECKS,
        f"{path}: 331/{before // 4} files (0.0% non-contiguous), {before // 28}/{before} blocks",
        "resize2fs 1.47.2 (1-Jan-2025)",
        f"Resizing the filesystem on {path} to {after} (4k) blocks.",
        f"The filesystem on {path} is now {after} (4k) blocks long.",
        "",
    ]


async def clone(
    world: cluster.Cluster,
    source: cluster.Guest,
    target: cluster.Guest,
    storage_name: str,
    task: tasks.Task,
    *,
    linked: bool,
    snapshot: str,
) -> None:
    """Body of `vzclone`: copies or shares every volume; a failure removes the new guest again."""
    task.log(f"creating a clone of container {source.vmid} with ID {target.vmid}")
    try:
        for name, volume in source.config.volumes().items():
            copying = _link_volume if linked else _copy_volume
            await copying(world, target, name, volume, storage_name, task)
        await world.runtime.copy(source.vmid, target.vmid, snapshot=snapshot)
    except (errors.ApiError, RuntimeError, asyncio.CancelledError) as problem:
        await world.runtime.destroy(target.vmid)
        world.storages.free_all_of(target.vmid)
        world.guests.pop(target.vmid, None)
        text = "interrupted by signal" if isinstance(problem, asyncio.CancelledError) else problem
        raise errors.Failure(f"clone failed: {text}") from None
    finally:
        source.config.options.pop("lock", None)
    target.config.options.pop("lock", None)


async def _link_volume(
    world: cluster.Cluster,
    target: cluster.Guest,
    name: str,
    volume: dict[str, str],
    _storage_name: str,
    task: tasks.Task,
) -> None:
    task.log(f"create linked clone of mount point {name} ({volume['volume']})")
    found = world.storages.require(volume["volume"].partition(":")[0], target.node)
    size = storage.size_of(volume.get("size", "0"))
    made = found.allocate(target.vmid, size, world.clock.now())
    await world.clock.sleep(world.latencies.linked_clone)
    linked = {**volume, "volume": f"{found.name}:{made.name}", "size": str(size)}
    target.config.put(name, config.print_volume(name, linked))


async def _copy_volume(
    world: cluster.Cluster,
    target: cluster.Guest,
    name: str,
    volume: dict[str, str],
    storage_name: str,
    task: tasks.Task,
) -> None:
    task.log(f"create full clone of mountpoint {name} ({volume['volume']})")
    where = storage_name or volume["volume"].partition(":")[0]
    found = world.storages.require(where, target.node)
    size = storage.size_of(volume.get("size", "0"))
    made = found.allocate(target.vmid, size, world.clock.now())
    problem = storage.creation_problem(found, made)
    if problem:
        raise errors.Failure(problem)
    task.log(*storage.allocation_log(found, made))
    await world.clock.sleep(world.latencies.clone)
    task.log(*_COPY_REPORT)
    copied = {**volume, "volume": f"{found.name}:{made.name}", "size": str(size)}
    target.config.put(name, config.print_volume(name, copied))


def can_link(world: cluster.Cluster, guest: cluster.Guest, *, of_snapshot: bool) -> bool:
    """Tell whether a clone may share the volumes of a guest, or of a snapshot of it.

    btrfs shares any volume; a thin pool shares those of templates and snapshots.
    """
    of_base = of_snapshot or bool(guest.config.options.get("template"))
    found = [world.storages.volume(v["volume"]) for v in guest.config.volumes().values()]
    return bool(found) and all(
        pair is not None
        and (pair[0].options.type == "btrfs" or (of_base and pair[0].options.snapshots))
        for pair in found
    )


def can_snapshot(world: cluster.Cluster, guest: cluster.Guest) -> bool:
    """Tell whether all of a guest's volumes lie on storages that take snapshots."""
    found = [world.storages.volume(v["volume"]) for v in guest.config.volumes().values()]
    return bool(found) and all(pair is not None and pair[0].options.snapshots for pair in found)
